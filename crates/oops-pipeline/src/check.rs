//! Checks against facts: every stage sees what is known of its inputs before anything runs.

use std::collections::BTreeSet;

use oops_core::{Fault, Result};
use oops_stage::{Facts, PortFacts, Source};

use crate::{Graph, Node, Place, Problem, Problems};

impl Graph<'_> {
    /// Runs every stage's own check over `which` nodes (with all that they are made from), feeding facts forward.
    /// Stops at the first stage that objects: those after it would complain about the consequences.
    pub fn check(&mut self, which: &BTreeSet<usize>) -> std::result::Result<(), Problems> {
        for &i in which {
            match self.facts_of(i) {
                Ok((sources, facts)) => (self.nodes[i].sources, self.nodes[i].facts) = (sources, facts),
                Err(fault) => {
                    let place = self.culprit(&self.nodes[i], &fault);
                    return Err(self.document.problems(vec![Problem::new(fault, place)]));
                }
            }
        }
        Ok(())
    }

    fn facts_of(&self, i: usize) -> Result<(Vec<Source>, Facts)> {
        let node = &self.nodes[i];
        let facts = |inputs: &Vec<usize>| inputs.iter().map(|&j| self.nodes[j].facts.clone()).collect();
        let ports = node.inputs.iter().map(|(port, inputs)| ((*port).to_owned(), facts(inputs)));
        let ports = PortFacts(ports.collect());
        let sources = node.stage.sources(&node.params, self.base())?;
        let facts = node.stage.check(&node.params, &ports, &sources)?;
        Ok((sources, facts))
    }

    /// The parameter that a fault names in backticks; else the one that says where something lies, if inputs are at
    /// fault; else the stage's name.
    fn culprit(&self, node: &Node<'_>, fault: &Fault) -> Place {
        let given = |name: &&String| self.document.given(&node.name, name);
        let params = || node.params.as_object().into_iter().flat_map(|m| m.keys()).filter(given);
        let named = params().find(|name| fault.what().contains(&format!("`{name}`")));
        let keyed = node.stage.keyed(&node.params);
        let location = || params().find(|name| keyed.get(name.as_str()).is_none() && node.inputs.is_empty());
        match named.or_else(location) {
            Some(param) => self.document.value_place(&["stages", &node.name, "with", param]),
            None => self.document.key_place(&["stages", &node.name]),
        }
    }
}
