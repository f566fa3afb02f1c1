//! Stages that only check.

use std::path::{Path, PathBuf};

use oops_artifact::Kind;
use oops_core::{Fault, Result, bail_if};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Registry, Source, Stage, erase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stages.
pub(crate) fn registry() -> Registry {
    let stages = [erase::<Model>(), erase::<Text>(), erase::<Prune>(), erase::<Perplexity>(), erase::<Other>()];
    Registry::new(stages).unwrap()
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ModelParams {
    path: PathBuf,
}

struct Model;

impl Stage for Model {
    type Params = ModelParams;
    const NAME: &'static str = "source.model";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a model";
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Kind = Kind::Model;
    const UNKEYED: &'static [&'static str] = &["path"];

    fn sources(params: &ModelParams, base: &Path) -> Result<Vec<Source>> {
        // In these tests only the pipeline files themselves and `model.txt` exist.
        let path = base.join(&params.path);
        let missing = params.path != Path::new("model.txt") && !path.exists();
        bail_if(missing, || {
            Fault::data("there is no such file or folder")
                .at(path.display())
                .help("give a Hugging Face folder or a .gguf file; relative paths start at the pipeline file")
        })?;
        Ok(Vec::new())
    }

    fn check(_: &ModelParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(_: &ModelParams, _: &Inputs, _: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TextParams {
    path: PathBuf,
    #[serde(default)]
    sequence_tokens: Option<usize>,
}

struct Text;

impl Stage for Text {
    type Params = TextParams;
    const NAME: &'static str = "source.text";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "tokens";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model)];
    const OUTPUT: Kind = Kind::Tokens;

    fn check(params: &TextParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(params.sequence_tokens == Some(0), || {
            Fault::config("`sequence_tokens` must be at least 2").help("leave it out for whole documents")
        })?;
        Ok(Facts::default())
    }

    fn run(_: &TextParams, _: &Inputs, _: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

struct Prune;

impl Stage for Prune {
    type Params = Nothing;
    const NAME: &'static str = "prune.plain";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a smaller model";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Model;

    fn check(_: &Nothing, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Err(Fault::data("the model has no blocks left to remove").help("use a larger model"))
    }

    fn run(_: &Nothing, _: &Inputs, _: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

struct Perplexity;

impl Stage for Perplexity {
    type Params = Nothing;
    const NAME: &'static str = "eval.perplexity";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "figures";
    const INPUTS: &'static [Port] = &[Port::many("models", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Metrics;

    fn check(_: &Nothing, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(_: &Nothing, _: &Inputs, _: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OtherParams {
    #[serde(default)]
    layers: u32,
}

/// Another model source, to be swapped in.
struct Other;

impl Stage for Other {
    type Params = OtherParams;
    const NAME: &'static str = "source.other";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "another model";
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Kind = Kind::Model;

    fn check(_: &OtherParams, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(_: &OtherParams, _: &Inputs, _: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}
