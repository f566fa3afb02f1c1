//! What all exporters share: ports, the model and its relatives, and the last two files.

use oops_artifact::{Artifact, Kind, Metrics, Sink, json};
use oops_core::{Fault, Result};
use oops_model::{Checkpoint, DType};
use oops_stage::{Cx, Inputs, Port};

use crate::{
    card::{self, Card},
    proof::{Allowed, Comparison},
};

/// Ports of an exporter: the model; the dense model that it was made from, which has licence and chat template and is
/// compared in the card; figures for the card.
pub(crate) const PORTS: &[Port] =
    &[Port::one("model", Kind::Model), Port::optional("dense", Kind::Model), Port::optional("metrics", Kind::Metrics)];

/// Licence files, in the order in which they are looked for.
const LICENCES: [&str; 4] = ["LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE"];

/// What an exporter works on.
pub(crate) struct Work<'a> {
    pub(crate) artifact: &'a Artifact,
    pub(crate) model: Checkpoint,
    dense: Option<(&'a Artifact, Checkpoint)>,
    metrics: Option<Metrics>,
}

impl<'a> Work<'a> {
    /// Opens the inputs.
    pub(crate) fn open(inputs: &'a Inputs) -> Result<Self> {
        let artifact = inputs.one("model")?;
        let model = Checkpoint::open(&artifact.paths)?;
        let open =
            |a: &'a Artifact| Ok::<_, Fault>((a, Checkpoint::open(&a.paths).map_err(|f| f.at("input `dense`"))?));
        let dense = inputs.optional("dense").map(open).transpose()?;
        let metrics = inputs.optional("metrics").map(Metrics::read).transpose()?;
        Ok(Self { artifact, model, dense, metrics })
    }

    /// The chat template of the model, or else of the dense one.
    pub(crate) fn chat_template(&self) -> Option<&str> {
        self.model.chat_template().or_else(|| self.dense.as_ref()?.1.chat_template())
    }

    /// Takes licence files over; gives the names of those that there are.
    pub(crate) fn licences(&self, cx: &Cx<'_>) -> Result<Vec<&'static str>> {
        let sources = [Some(self.artifact), self.dense.as_ref().map(|d| d.0)];
        let mut found = Vec::new();
        for name in LICENCES {
            for from in sources.into_iter().flatten() {
                if !found.contains(&name) && cx.work.link_present(from, name)? {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Writes the comparison and the card.
    pub(crate) fn finish(&self, cx: &Cx<'_>, target: &Target, comparison: &Comparison) -> Result<()> {
        cx.work.file("verify.json", &mut |path| json::write(path, comparison))?;
        let licences = self.licences(cx)?;
        let card = card::text(&Card {
            config: self.model.config(),
            dense: self.dense.as_ref().map(|d| &d.1.config().dims),
            metrics: self.metrics.as_ref(),
            digests: (self.artifact.digest(), self.dense.as_ref().map(|d| d.0.digest())),
            target,
            comparison,
            licences: &licences,
        });
        cx.work.write("README.md", |path| std::fs::write(path, &card).map_err(|e| Fault::writing(path, &e)))
    }
}

/// What a card says of the target.
pub(crate) struct Target {
    /// Name of the form.
    pub(crate) form: String,
    /// How weights are stored.
    pub(crate) weights: String,
    /// How to load it, in Markdown.
    pub(crate) usage: String,
    /// What its reader should know.
    pub(crate) notes: Vec<String>,
}

/// How far an export with weights of this precision may be off. The largest difference of a logit over the largest logit:
/// the order of sums for f32; the rounding of weights, measured on small models and doubled, for the halves. Quantised
/// weights: see [`Allowed::Text`]; bits per weight decide.
pub(crate) fn tolerance(dtype: &DType) -> Allowed {
    match dtype {
        DType::F32 => Allowed::Logits(1e-5),
        DType::F16 => Allowed::Logits(2e-3),
        DType::BF16 => Allowed::Logits(2e-2),
        DType::Quantized(name) if name == "Q8_0" => Allowed::Text { perplexity: 1.05, same_token: 0.9 },
        DType::Quantized(_) => Allowed::Text { perplexity: 1.5, same_token: 0.5 },
    }
}
