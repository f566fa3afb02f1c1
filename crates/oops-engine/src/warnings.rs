//! Warnings: what the user should know of a result although it is valid. A stage gives them when it is checked
//! (`Facts::warnings`) and while it runs (`Cx::warn`); the record keeps both.

use oops_core::Fault;
use oops_pipeline::Node;
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
