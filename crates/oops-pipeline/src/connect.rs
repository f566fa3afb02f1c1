//! Connections between stages: ports, kinds, names, cycles.

use std::collections::BTreeMap;

use oops_core::{Fault, nearest};
use oops_stage::{AnyStage, Arity, Port};
use serde_yaml::Mapping;

use crate::{
    Problem,
    build::{Builder, Draft},
    raw::RawInput,
};

impl<'r> Builder<'r> {
    pub(crate) fn inputs(
        &self,
        name: &str,
        stage: &dyn AnyStage,
        map: &Mapping,
    ) -> Result<Vec<(&'static Port, Vec<String>)>, Problem> {
        let ports = stage.inputs();
        let mut connected = BTreeMap::new();
        for (key, value) in map {
            let key = key.as_str().unwrap_or_default();
            let path = ["stages", name, "in", key];
            let port = ports
                .iter()
                .find(|p| p.name == key)
                .ok_or_else(|| Problem::new(unknown_port(key, stage), self.document.key_place(&path)))?;
            let input: RawInput = self.document.typed(value, &path, &[])?;
            if port.arity != Arity::Many && matches!(input, RawInput::List(_)) {
                let fault = Fault::config(format!("the port `{key}` takes one {}, not a list", port.kind))
                    .help("write the name without brackets");
                return Err(Problem::new(fault, self.document.value_place(&path)));
            }
            if input.names().is_empty() {
                let fault = Fault::config(format!("the port `{key}` needs at least one {}", port.kind));
                return Err(Problem::new(fault, self.document.value_place(&path)));
            }
            connected.insert(key.to_owned(), input.names().to_vec());
        }
        if let Some(open) = ports.iter().find(|p| p.arity != Arity::Optional && !connected.contains_key(p.name)) {
            let fault = Fault::config(format!("the port `{}` of `{name}` is not connected", open.name)).help(format!(
                "{} needs a {} there: `in: {{ {}: … }}`",
                stage.name(),
                open.kind,
                open.name
            ));
            return Err(Problem::new(fault, self.document.key_place(&["stages", name, "in"])));
        }
        Ok(ports.iter().filter_map(|p| connected.remove(p.name).map(|names| (p, names))).collect())
    }

    /// Edges of all connections (input, user); wrong ones become problems.
    pub(crate) fn connect(&mut self, drafts: &[Option<Draft<'r>>], names: &[&str]) -> Vec<(usize, usize)> {
        let mut edges = Vec::new();
        for (user, draft) in drafts.iter().enumerate().filter_map(|(i, d)| d.as_ref().map(|d| (i, d))) {
            for (port, inputs) in &draft.inputs {
                for (i, input) in inputs.iter().enumerate() {
                    match wrong_input(port, input, drafts, names) {
                        Ok(index) => edges.push((index, user)),
                        Err(fault) => {
                            let item = i.to_string();
                            let path = ["stages", &draft.name, "in", port.name, &item];
                            let known = self.document.value_place(&path[..4]);
                            let place = if inputs.len() > 1 { self.document.value_place(&path) } else { known };
                            self.problems.push(Problem::new(fault, place));
                        }
                    }
                }
            }
        }
        edges
    }

    pub(crate) fn cycle(&self, cycle: &[usize], drafts: &[Draft<'_>]) -> Problem {
        let names: Vec<&str> = cycle.iter().map(|&i| drafts[i].name.as_str()).collect();
        let fault = Fault::config(format!("the stages wait for each other: {}", names.join(" → ")))
            .help("a stage can only use what was made before it; remove one of these inputs (A → B means: A uses B)");
        let ports = &drafts[cycle[0]].inputs;
        let port = ports.iter().find(|(_, inputs)| inputs.iter().any(|i| i == names[1])).map_or("", |(p, _)| p.name);
        Problem::new(fault, self.document.value_place(&["stages", names[0], "in", port]))
    }
}

/// Index of the instance called `input`, if it fits the port. An instance that is broken itself fits every port.
fn wrong_input(port: &Port, input: &str, drafts: &[Option<Draft<'_>>], names: &[&str]) -> Result<usize, Fault> {
    let index = names.iter().position(|n| *n == input).ok_or_else(|| {
        let near = nearest(input, names.iter().copied()).map(|n| format!("did you mean `{n}`? "));
        Fault::config(format!("no stage of the pipeline is called `{input}`")).help(format!(
            "{}stages: {}",
            near.unwrap_or_default(),
            names.join(", ")
        ))
    })?;
    match &drafts[index] {
        Some(d) if d.stage.output() != port.kind => {
            let fits = drafts.iter().flatten().filter(|d| d.stage.output() == port.kind).map(|d| d.name.as_str());
            let fits: Vec<&str> = fits.collect();
            let help = if fits.is_empty() { "no stage of the pipeline does".to_owned() } else { fits.join(", ") };
            Err(Fault::config(format!(
                "the port `{}` takes the kind {}, but `{input}` ({}) makes {}",
                port.name,
                port.kind,
                d.stage.name(),
                d.stage.output()
            ))
            .help(format!("stages here that make {}: {help}", port.kind)))
        }
        _ => Ok(index),
    }
}

fn unknown_port(key: &str, stage: &dyn AnyStage) -> Fault {
    let ports: Vec<&str> = stage.inputs().iter().map(|p| p.name).collect();
    let near = nearest(key, ports.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    let all = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
    Fault::config(format!("{} has no port `{key}`", stage.name())).help(format!("{near}ports: {all}"))
}
