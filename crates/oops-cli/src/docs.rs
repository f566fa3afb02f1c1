//! What each stage's file says at its top: formula, units, when it misleads, references. Taken from the source itself, so
//! that `oops stages NAME` and the code cannot disagree.

/// The source of each stage.
const SOURCES: &[(&str, &str)] = &[
    ("calibrate.activations", include_str!("../../oops-calibrate/src/activations.rs")),
    ("calibrate.gradients", include_str!("../../oops-calibrate/src/gradients.rs")),
    ("distill.blockwise", include_str!("../../oops-distill/src/blockwise.rs")),
    ("distill.logits", include_str!("../../oops-distill/src/logits.rs")),
    ("eval.perplexity", include_str!("../../oops-eval/src/perplexity.rs")),
    ("eval.speed", include_str!("../../oops-eval/src/speed.rs")),
    ("eval.size", include_str!("../../oops-eval/src/size.rs")),
    ("export.gguf", include_str!("../../oops-export/src/gguf.rs")),
    ("export.hf", include_str!("../../oops-export/src/hf/mod.rs")),
    ("export.onnx", include_str!("../../oops-export/src/onnx/mod.rs")),
    ("reconstruct.bias", include_str!("../../oops-reconstruct/src/methods/bias.rs")),
    ("reconstruct.box", include_str!("../../oops-reconstruct/src/methods/bounded.rs")),
    ("reconstruct.equality", include_str!("../../oops-reconstruct/src/methods/equality.rs")),
    ("reconstruct.joint", include_str!("../../oops-reconstruct/src/methods/joint.rs")),
    ("reconstruct.none", include_str!("../../oops-reconstruct/src/methods/none.rs")),
    ("reconstruct.obs", include_str!("../../oops-reconstruct/src/methods/obs.rs")),
    ("reconstruct.ridge", include_str!("../../oops-reconstruct/src/methods/ridge.rs")),
    ("reconstruct.scale", include_str!("../../oops-reconstruct/src/methods/scale.rs")),
    ("reconstruct.transfer", include_str!("../../oops-reconstruct/src/methods/transfer.rs")),
    ("report.summary", include_str!("../../oops-report/src/summary.rs")),
    ("score.fisher", include_str!("../../oops-score/src/methods/fisher.rs")),
    ("score.flap", include_str!("../../oops-score/src/methods/flap.rs")),
    ("score.kfac", include_str!("../../oops-score/src/methods/kfac.rs")),
    ("score.magnitude", include_str!("../../oops-score/src/methods/magnitude.rs")),
    ("score.obs", include_str!("../../oops-score/src/methods/obs.rs")),
    ("score.oops", include_str!("../../oops-score/src/methods/oops.rs")),
    ("score.random", include_str!("../../oops-score/src/methods/random.rs")),
    ("score.taylor", include_str!("../../oops-score/src/methods/taylor.rs")),
    ("score.wanda", include_str!("../../oops-score/src/methods/wanda.rs")),
    ("select.global", include_str!("../../oops-select/src/methods/global.rs")),
    ("select.owl", include_str!("../../oops-select/src/methods/owl.rs")),
    ("select.qp", include_str!("../../oops-select/src/methods/qp.rs")),
    ("select.refine", include_str!("../../oops-select/src/methods/refine.rs")),
    ("select.uniform", include_str!("../../oops-select/src/methods/uniform.rs")),
    ("source.mix", include_str!("../../oops-source/src/mix.rs")),
    ("source.model", include_str!("../../oops-source/src/model.rs")),
    ("source.plan", include_str!("../../oops-source/src/plan.rs")),
    ("source.text", include_str!("../../oops-source/src/text.rs")),
];

/// The lines at the top of a stage's file, without marks of Rust's documentation.
pub(crate) fn doc(stage: &str) -> Option<String> {
    let (_, source) = SOURCES.iter().find(|(name, _)| *name == stage)?;
    let lines = source.lines().map_while(|l| l.strip_prefix("//!"));
    let lines = lines.map(|l| l.strip_prefix(' ').unwrap_or(l).replace("\\[", "[").replace("\\]", "]"));
    Some(lines.collect::<Vec<_>>().join("\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::registry;

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
