//! Checks against facts: every stage sees what is known of its inputs before anything runs.

use std::collections::BTreeSet;

use oops_core::Fault;
use oops_stage::PortFacts;

use crate::{Graph, Node, Place, Problem, Problems};

impl Graph<'_> {
    /// Runs every stage's own check over `which` nodes (with all that they are made from), feeding facts forward.
    /// Stops at the first stage that objects: those after it would complain about the consequences.
    pub fn check(&mut self, which: &BTreeSet<usize>) -> std::result::Result<(), Problems> {
        for &i in which {
            let node = &self.nodes[i];
            let sources = match node.stage.sources(&node.params, self.base()) {
                Ok(sources) => sources,
                Err(fault) => return Err(self.objection(node, fault, true)),
            };
            match node.stage.check(&node.params, &self.facts_of_inputs(i), &sources) {
                Ok(facts) => (self.nodes[i].sources, self.nodes[i].facts) = (sources, facts),
                Err(fault) => return Err(self.objection(node, fault, node.inputs.is_empty())),
            }
        }
        Ok(())
    }

    fn facts_of_inputs(&self, i: usize) -> PortFacts {
        let facts = |inputs: &Vec<usize>| inputs.iter().map(|&j| self.nodes[j].facts.clone()).collect();
        let ports = self.nodes[i].inputs.iter().map(|(port, inputs)| ((*port).to_owned(), facts(inputs)));
        PortFacts(ports.collect())
    }

    /// What the checks of `which` warn of, as problems for whoever takes warnings for errors; none without a warning.
    /// Messages of an instance that are in `told` are left out, and those that are not are put there.
    pub fn warned(&self, which: &BTreeSet<usize>, told: &mut BTreeSet<(String, String)>) -> Option<Problems> {
        let mut list = Vec::new();
        for node in which.iter().map(|&i| &self.nodes[i]) {
            for message in &node.facts.warnings {
                if told.insert((node.name.clone(), message.clone())) {
                    let fault = Fault::config(message.clone()).at(format!("stage `{}`", node.name));
                    let fault = fault.help("warnings are errors with --strict: change the pipeline, or run without it");
                    list.push(Problem::new(fault, self.place(node, message, false)));
                }
            }
        }
        (!list.is_empty()).then(|| self.document.problems(list))
    }

    fn objection(&self, node: &Node<'_>, fault: Fault, outside: bool) -> Problems {
        let place = self.place(node, fault.what(), outside);
        self.document.problems(vec![Problem::new(fault, place)])
    }

    /// Places a message: at the parameter that it names in backticks; else, if it is about a file (`outside`), at the
    /// parameter that says where that lies; else at the stage's name.
    fn place(&self, node: &Node<'_>, message: &str, outside: bool) -> Place {
        let given = |name: &&String| self.document.given(&node.name, name);
        let params = || node.params.as_object().into_iter().flat_map(|m| m.keys()).filter(given);
        let named = params().find(|name| message.contains(&format!("`{name}`")));
        let keyed = node.stage.keyed(&node.params);
        let location = || params().find(|name| outside && keyed.get(name.as_str()).is_none());
        match named.or_else(location) {
            Some(param) => self.document.value_place(&["stages", &node.name, "with", param]),
            None => self.document.key_place(&["stages", &node.name]),
        }
    }
}
