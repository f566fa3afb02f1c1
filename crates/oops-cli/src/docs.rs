//! What each stage's file says at its top: formula, units, when it misleads, references. Taken from the source itself, so
//! that `oops stages NAME` and the code cannot disagree.

/// Name, path below `crates/` and text of a stage's file.
macro_rules! file {
    ($stage:literal, $path:literal) => {
        ($stage, $path, include_str!(concat!("../../", $path)))
    };
}

/// The source of each stage.
const SOURCES: &[(&str, &str, &str)] = &[
    file!("calibrate.activations", "oops-calibrate/src/activations.rs"),
    file!("calibrate.gradients", "oops-calibrate/src/gradients.rs"),
    file!("distill.blockwise", "oops-distill/src/blockwise.rs"),
    file!("distill.logits", "oops-distill/src/logits.rs"),
    file!("eval.perplexity", "oops-eval/src/perplexity.rs"),
    file!("eval.speed", "oops-eval/src/speed.rs"),
    file!("eval.size", "oops-eval/src/size.rs"),
    file!("export.gguf", "oops-export/src/gguf.rs"),
    file!("export.hf", "oops-export/src/hf/mod.rs"),
    file!("export.onnx", "oops-export/src/onnx/mod.rs"),
    file!("reconstruct.bias", "oops-reconstruct/src/methods/bias.rs"),
    file!("reconstruct.box", "oops-reconstruct/src/methods/bounded.rs"),
    file!("reconstruct.equality", "oops-reconstruct/src/methods/equality.rs"),
    file!("reconstruct.joint", "oops-reconstruct/src/methods/joint.rs"),
    file!("reconstruct.none", "oops-reconstruct/src/methods/none.rs"),
    file!("reconstruct.obs", "oops-reconstruct/src/methods/obs.rs"),
    file!("reconstruct.ridge", "oops-reconstruct/src/methods/ridge.rs"),
    file!("reconstruct.scale", "oops-reconstruct/src/methods/scale.rs"),
    file!("reconstruct.transfer", "oops-reconstruct/src/methods/transfer.rs"),
    file!("report.summary", "oops-report/src/summary.rs"),
    file!("score.fisher", "oops-score/src/methods/fisher.rs"),
    file!("score.flap", "oops-score/src/methods/flap.rs"),
    file!("score.kfac", "oops-score/src/methods/kfac.rs"),
    file!("score.magnitude", "oops-score/src/methods/magnitude.rs"),
    file!("score.obs", "oops-score/src/methods/obs.rs"),
    file!("score.oops", "oops-score/src/methods/oops.rs"),
    file!("score.random", "oops-score/src/methods/random.rs"),
    file!("score.taylor", "oops-score/src/methods/taylor.rs"),
    file!("score.wanda", "oops-score/src/methods/wanda.rs"),
    file!("select.global", "oops-select/src/methods/global.rs"),
    file!("select.owl", "oops-select/src/methods/owl.rs"),
    file!("select.qp", "oops-select/src/methods/qp.rs"),
    file!("select.refine", "oops-select/src/methods/refine.rs"),
    file!("select.uniform", "oops-select/src/methods/uniform.rs"),
    file!("source.mix", "oops-source/src/mix.rs"),
    file!("source.model", "oops-source/src/model.rs"),
    file!("source.plan", "oops-source/src/plan.rs"),
    file!("source.text", "oops-source/src/text.rs"),
];

/// Stages with the paths of their files below `crates/`.
pub(crate) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    SOURCES.iter().map(|(stage, path, _)| (*stage, *path))
}

/// The lines at the top of a stage's file, without marks of Rust's documentation.
pub(crate) fn doc(stage: &str) -> Option<String> {
    let (.., source) = SOURCES.iter().find(|(name, ..)| *name == stage)?;
    let lines = source.lines().map_while(|l| l.strip_prefix("//!"));
    let lines = lines.map(|l| l.strip_prefix(' ').unwrap_or(l).replace("\\[", "[").replace("\\]", "]"));
    Some(lines.collect::<Vec<_>>().join("\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::registry;

    #[test]
    fn every_stage_has_its_own_doc() {
        let registry = registry().unwrap();
        for stage in registry.iter() {
            let doc = doc(stage.name()).unwrap_or_else(|| panic!("{} is not in SOURCES", stage.name()));
            assert!(doc.starts_with(&format!("`{}`", stage.name())), "{}: {doc}", stage.name());
            assert!(!doc.contains("//!") && !doc.contains('\\'), "{doc}");
        }
        assert_eq!(SOURCES.len(), registry.iter().count(), "a stage of SOURCES is gone");
    }
}
