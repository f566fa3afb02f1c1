//! The erased twin of [`Stage`]: parameters as JSON, so that an engine can hold any stage.

use std::{marker::PhantomData, path::Path};

use oops_artifact::Kind;
use oops_core::{Fault, Result};
use serde_json::Value;

use crate::{Cx, Facts, Inputs, Needs, Port, PortFacts, Revision, Source, Stage};

/// A stage whose parameters are JSON.
pub trait AnyStage: Send + Sync {
    /// See [`Stage::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Stage::VERSION`].
    fn version(&self) -> u32;
    /// See [`Stage::ABOUT`].
    fn about(&self) -> &'static str;
    /// See [`Stage::INPUTS`].
    fn inputs(&self) -> &'static [Port];
    /// See [`Stage::OUTPUT`].
    fn output(&self) -> Kind;
    /// See [`Stage::SEEDED`].
    fn seeded(&self) -> bool;
    /// See [`Stage::ON_DEVICE`].
    fn on_device(&self) -> bool;
    /// The source that it was compiled from, where the program knows it.
    fn revision(&self) -> Option<&Revision>;
    /// Says which source it was compiled from.
    fn set_revision(&mut self, revision: Revision);
    /// JSON Schema of the parameters.
    fn schema(&self) -> Value;
    /// Parses parameters and fills in defaults.
    fn resolve(&self, params: &Value) -> Result<Value>;
    /// The resolved parameters that belong into the action key.
    fn keyed(&self, resolved: &Value) -> Value;
    /// See [`Stage::sources`].
    fn sources(&self, resolved: &Value, base: &Path) -> Result<Vec<Source>>;
    /// See [`Stage::check`].
    fn check(&self, resolved: &Value, inputs: &PortFacts, sources: &[Source]) -> Result<Facts>;
    /// See [`Stage::needs`].
    fn needs(&self, resolved: &Value, inputs: &PortFacts) -> Result<Needs>;
    /// See [`Stage::run`].
    fn run(&self, resolved: &Value, inputs: &Inputs, cx: &Cx<'_>) -> Result<()>;
}

/// Erases a stage.
pub fn erase<S: Stage>() -> Box<dyn AnyStage> {
    Box::new(Erased::<S> { revision: None, stage: PhantomData })
}

struct Erased<S> {
    revision: Option<Revision>,
    stage: PhantomData<S>,
}

fn parse<S: Stage>(params: &Value) -> Result<S::Params> {
    serde_json::from_value(params.clone()).map_err(|e| Fault::config(e.to_string()))
}

impl<S: Stage> AnyStage for Erased<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn version(&self) -> u32 {
        S::VERSION
    }

    fn about(&self) -> &'static str {
        S::ABOUT
    }

    fn inputs(&self) -> &'static [Port] {
        S::INPUTS
    }

    fn output(&self) -> Kind {
        S::OUTPUT
    }

    fn seeded(&self) -> bool {
        S::SEEDED
    }

    fn on_device(&self) -> bool {
        S::ON_DEVICE
    }

    fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    fn set_revision(&mut self, revision: Revision) {
        self.revision = Some(revision);
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(S::Params).into()
    }

    fn resolve(&self, params: &Value) -> Result<Value> {
        let typed = parse::<S>(params)?;
        serde_json::to_value(&typed).map_err(|e| Fault::internal(format!("parameters of {}: {e}", S::NAME)))
    }

    fn keyed(&self, resolved: &Value) -> Value {
        let mut keyed = resolved.clone();
        if let Value::Object(map) = &mut keyed {
            map.retain(|name, _| !S::UNKEYED.contains(&name.as_str()));
        }
        keyed
    }

    fn sources(&self, resolved: &Value, base: &Path) -> Result<Vec<Source>> {
        S::sources(&parse::<S>(resolved)?, base)
    }

    fn check(&self, resolved: &Value, inputs: &PortFacts, sources: &[Source]) -> Result<Facts> {
        S::check(&parse::<S>(resolved)?, inputs, sources)
    }

    fn needs(&self, resolved: &Value, inputs: &PortFacts) -> Result<Needs> {
        Ok(S::needs(&parse::<S>(resolved)?, inputs))
    }

    fn run(&self, resolved: &Value, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        S::run(&parse::<S>(resolved)?, inputs, cx)
    }
}
