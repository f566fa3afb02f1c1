//! `oops dag`: draws the graph.

use oops_pipeline::Graph;
use oops_stage::Registry;

use crate::{
    args::{Dag, DagFormat},
    open::{self, Answer},
    terminal::out,
};

/// Runs the command.
pub(crate) fn dag(args: &Dag, registry: &Registry) -> Answer {
    let graph = open::graph(&args.pipeline, registry)?;
    out(match args.format {
        DagFormat::Ascii => ascii(&graph),
        DagFormat::Mermaid => mermaid(&graph),
        DagFormat::Dot => dot(&graph),
    }
    .trim_end());
    Ok(0)
}

/// One line per stage, inputs first: name, stage, what it makes, and its inputs by port.
fn ascii(graph: &Graph<'_>) -> String {
    let width = |f: &dyn Fn(usize) -> usize| (0..graph.nodes.len()).map(f).max().unwrap_or(0);
    let names = width(&|i| graph.nodes[i].name.len());
    let stages = width(&|i| graph.nodes[i].stage.name().len());
    let lines = graph.nodes.iter().map(|n| {
        let inputs = n.inputs.iter().map(|(port, list)| {
            let list: Vec<&str> = list.iter().map(|&j| graph.nodes[j].name.as_str()).collect();
            if list == [*port] { (*port).to_owned() } else { format!("{port}: {}", list.join(", ")) }
        });
        let inputs = inputs.collect::<Vec<_>>().join(" · ");
        let arrow = if inputs.is_empty() { String::new() } else { format!("  ← {inputs}") };
        let makes = n.stage.output().name();
        format!("{:names$}  {:stages$}  → {makes:7}{arrow}", n.name, n.stage.name()).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn edges<'g>(graph: &'g Graph<'_>) -> impl Iterator<Item = (usize, usize, &'static str)> + 'g {
    graph.nodes.iter().enumerate().flat_map(|(user, node)| {
        node.inputs.iter().flat_map(move |(port, list)| list.iter().map(move |&input| (input, user, *port)))
    })
}

// Instances are numbered, because their names may be reserved words in these languages.
fn mermaid(graph: &Graph<'_>) -> String {
    let nodes = graph.nodes.iter().enumerate().map(|(i, n)| format!("  n{i}[\"{}<br/>{}\"]", n.name, n.stage.name()));
    let edges = edges(graph).map(|(a, b, port)| format!("  n{a} -->|{port}| n{b}"));
    format!("flowchart LR\n{}\n", nodes.chain(edges).collect::<Vec<_>>().join("\n"))
}

fn dot(graph: &Graph<'_>) -> String {
    let nodes =
        graph.nodes.iter().enumerate().map(|(i, n)| format!("  n{i} [label=\"{}\\n{}\"];", n.name, n.stage.name()));
    let edges = edges(graph).map(|(a, b, port)| format!("  n{a} -> n{b} [label=\"{port}\"];"));
    let body = nodes.chain(edges).collect::<Vec<_>>().join("\n");
    format!("digraph pipeline {{\n  rankdir=LR;\n  node [shape=box];\n{body}\n}}\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sources::registry;

    #[test]
    fn every_pipeline_that_ships_loads_and_can_be_drawn() {
        let registry = registry().unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
        let mut count = 0;
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.extension().is_none_or(|e| e != "yaml") {
                continue;
            }
            let graph = Graph::load(&path, &[], &registry).unwrap_or_else(|p| panic!("{p}"));
            assert!(graph.about.is_some(), "{} says what it is about", path.display());
            assert_eq!(ascii(&graph).lines().count(), graph.nodes.len());
            count += 1;
        }
        assert!(count >= 4);
    }

    #[test]
    fn the_three_forms_show_names_stages_and_ports() {
        let registry = registry().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/llama.yaml");
        let graph = Graph::load(&path, &[], &registry).unwrap_or_else(|p| panic!("{p}"));
        let (dense, plan) = (graph.find("dense").unwrap(), graph.find("plan").unwrap());
        assert!(ascii(&graph).contains("← model: dense · tokens: text"), "{}", ascii(&graph));
        assert!(mermaid(&graph).contains(&format!("  n{dense} -->|model| n{plan}")), "{}", mermaid(&graph));
        assert!(dot(&graph).contains(&format!("  n{dense} -> n{plan} [label=\"model\"];")), "{}", dot(&graph));
    }
}
