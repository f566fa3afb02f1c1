//! The stages that a binary offers.

use oops_core::{Fault, Result, bail_if, nearest};

use crate::AnyStage;

/// A list of stages by name.
#[derive(Default)]
pub struct Registry(Vec<Box<dyn AnyStage>>);

impl Registry {
    /// Collects stages; two of one name are a bug.
    pub fn new(stages: impl IntoIterator<Item = Box<dyn AnyStage>>) -> Result<Self> {
        let mut all: Vec<_> = stages.into_iter().collect();
        all.sort_by_key(|s| s.name());
        let twice = all.windows(2).find(|w| w[0].name() == w[1].name()).map(|w| w[0].name());
        bail_if(twice.is_some(), || Fault::internal(format!("two stages are called `{}`", twice.unwrap_or_default())))?;
        Ok(Self(all))
    }

    /// The stage of this name.
    pub fn get(&self, name: &str) -> Result<&dyn AnyStage> {
        let found = self.0.iter().find(|s| s.name() == name);
        found.map(|s| &**s).ok_or_else(|| {
            let near = nearest(name, self.names()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
            let all: Vec<_> = self.names().collect();
            Fault::config(format!("no stage is called `{name}`"))
                .help(format!("{near}known stages: {}", all.join(", ")))
        })
    }

    /// All stages, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &dyn AnyStage> {
        self.0.iter().map(|s| &**s)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|s| s.name())
    }
}
