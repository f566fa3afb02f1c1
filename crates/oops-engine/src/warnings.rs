//! Warnings: what the user should know of a result although it is valid. A stage gives them when it is checked
//! (`Facts::warnings`) and while it runs (`Cx::warn`); the record keeps both.

use oops_core::Fault;
use oops_pipeline::Node;
use oops_stage::AnyStage;
use oops_store::Record;

/// All warnings of a stage: what its check says now, then what its record says besides.
pub fn warnings(node: &Node<'_>, record: Option<&Record>) -> Vec<String> {
    merged(&node.facts.warnings, record.map_or(&[], |r| r.warnings.as_slice()))
}

/// Two lists, each message once, in order.
pub(crate) fn merged(first: &[String], second: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for message in first.iter().chain(second) {
        if !all.contains(message) {
            all.push(message.clone());
        }
    }
    all
}

/// The fault that `warnings` are where they count as errors.
pub(crate) fn strict(warnings: &[String]) -> Fault {
    Fault::config(warnings.join("; ")).help("warnings are errors with --strict: change the pipeline, or run without it")
}

/// What a development build says of a result that another source of the stage made under the same version.
pub(crate) fn other_source(stage: &dyn AnyStage, record: &Record) -> Option<String> {
    let then = record.provenance.source.as_deref()?;
    let now = stage.revision().filter(|now| cfg!(debug_assertions) && !now.gives_bytes_of(then))?;
    let (name, version, now) = (stage.name(), stage.version(), &now.digest);
    Some(format!(
        "made by another source of {name} ({then}, now {now}) of the same version {version}: raise VERSION if the bytes \
         differ, else say so with `cargo xtask same-bytes`; --force makes it again"
    ))
}
