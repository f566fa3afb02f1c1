//! `report.summary`: dense against pruned, one row per model, one column per figure.

use oops_artifact::{Column, Kind, Metrics, ReportTable};
use oops_core::{Digest, Result};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of [`Summary`]: none.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {}

/// One table from any number of metrics, joined by model.
pub struct Summary;

/// Figures that get a column, in order, with their titles.
const FIGURES: [(&str, &str); 6] = [
    ("perplexity", "perplexity"),
    ("parameters", "parameters"),
    ("decoder_parameters", "decoder weights"),
    ("f16_bytes", "bytes (f16)"),
    ("stored_bytes", "bytes stored"),
    ("kv_bytes_per_token", "KV bytes/token"),
];

impl Stage for Summary {
    type Params = Params;
    const NAME: &'static str = "report.summary";
    /// 2: perplexities under one protocol share a column. 3: two figures for one cell are two columns; texts are named when
    /// the table is shown.
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "one Markdown table: a row per model, a column per figure, the protocols below";
    const INPUTS: &'static [Port] = &[Port::many("metrics", Kind::Metrics)];
    const OUTPUT: Kind = Kind::Report;

    fn check(_: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    fn run(_: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let metrics = inputs.many("metrics").iter().map(Metrics::read).collect::<Result<Vec<_>>>()?;
        table(&metrics)?.write(&cx.work)
    }
}

fn table(metrics: &[Metrics]) -> Result<ReportTable> {
    let mut models: Vec<Digest> = Vec::new();
    for m in metrics {
        for i in 0..m.models.len() {
            let digest = m.model(i)?;
            if !models.contains(&digest) {
                models.push(digest);
            }
        }
    }
    let (mut columns, mut protocols, mut cells) = (Vec::new(), Vec::new(), Vec::new());
    for group in groups(metrics)? {
        let of_group = |f: &usize| group.iter().flat_map(|m| &m.models).any(|row| row.contains_key(FIGURES[*f].0));
        for f in (0..FIGURES.len()).filter(of_group) {
            columns.push(Column { title: FIGURES[f].1.to_owned(), protocol: protocols.len() });
            cells.push(models.iter().map(|m| cell(&group, m, f)).collect::<Vec<_>>());
        }
        protocols.push(group[0].protocol.clone());
    }
    let row = |(i, model): (usize, &Digest)| (*model, cells.iter().map(|c| shown(c[i].as_ref())).collect());
    Ok(ReportTable { columns, rows: models.iter().enumerate().map(row).collect(), protocols })
}

/// Metrics that share columns: of one protocol, and without two different figures for one cell. Perplexities on two texts
/// are two columns; those of two models on one text, measured by two stages, are one.
fn groups(metrics: &[Metrics]) -> Result<Vec<Vec<&Metrics>>> {
    let mut groups: Vec<Vec<&Metrics>> = Vec::new();
    for m in metrics {
        let mut home = None;
        for (g, group) in groups.iter().enumerate() {
            if home.is_none() && group[0].protocol == m.protocol && agree(group, m)? {
                home = Some(g);
            }
        }
        match home {
            Some(g) => groups[g].push(m),
            None => groups.push(vec![m]),
        }
    }
    Ok(groups)
}

/// Whether no figure of `m` differs from that of the group for the same model.
fn agree(group: &[&Metrics], m: &Metrics) -> Result<bool> {
    for i in 0..m.models.len() {
        for (f, (name, _)) in FIGURES.iter().enumerate() {
            let (ours, theirs) = (cell(group, &m.model(i)?, f), m.models[i].get(*name));
            if ours.is_some() && theirs.is_some() && ours.as_ref() != theirs {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Figure `f` of a model, if the group has it.
fn cell(group: &[&Metrics], model: &Digest, f: usize) -> Option<Value> {
    for m in group {
        for (i, row) in m.models.iter().enumerate() {
            if let Some(value) = row.get(FIGURES[f].0).filter(|_| m.model(i).is_ok_and(|d| d == *model)) {
                return Some(value.clone());
            }
        }
    }
    None
}

fn shown(value: Option<&Value>) -> String {
    value.map(figure).unwrap_or_default()
}

/// Whole numbers in full, others to three decimals while that is readable.
fn figure(value: &Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => thousands(whole),
        (_, Some(v)) if v < 100.0 => format!("{v:.3}"),
        (_, Some(v)) if v < 10_000.0 => format!("{v:.1}"),
        (_, Some(v)) => format!("{v:.3e}"),
        _ => value.to_string(),
    }
}

fn thousands(v: u64) -> String {
    let digits = v.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|c| std::str::from_utf8(c).ok()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metrics(protocol: Value, rows: Vec<Value>) -> Metrics {
        let map = |v: Value| v.as_object().cloned().unwrap();
        Metrics { protocol: map(protocol), models: rows.into_iter().map(map).collect() }
    }

    fn titles(t: &ReportTable) -> Vec<(&str, usize)> {
        t.columns.iter().map(|c| (c.title.as_str(), c.protocol)).collect()
    }

    #[test]
    fn metrics_are_joined_by_model() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let ppl = metrics(
            json!({"window_tokens": 8}),
            vec![
                json!({"model_digest": a, "perplexity": 19.92349}),
                json!({"model_digest": b, "perplexity": 51_300.0}),
            ],
        );
        let size = metrics(json!({}), vec![json!({"model_digest": b, "parameters": 1_234_567})]);
        let t = table(&[ppl, size]).unwrap();
        assert_eq!(titles(&t), [("perplexity", 0), ("parameters", 1)]);
        assert_eq!(t.rows[0], (a, vec!["19.923".into(), String::new()]));
        assert_eq!(t.rows[1], (b, vec!["5.130e4".into(), "1 234 567".into()]));
    }

    #[test]
    fn stages_with_one_protocol_share_a_column_unless_a_cell_would_have_two_figures() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let of = |model: Digest, ppl: f64| {
            metrics(json!({"window_tokens": 8}), vec![json!({"model_digest": model, "perplexity": ppl})])
        };
        let t = table(&[of(a, 2.0), of(b, 3.0), of(a, 2.0)]).unwrap();
        assert_eq!(titles(&t), [("perplexity", 0)]);
        assert_eq!(t.rows, [(a, vec!["2.000".into()]), (b, vec!["3.000".into()])]);
        let t = table(&[of(a, 2.0), of(a, 2.5), of(b, 3.0)]).unwrap();
        assert_eq!(titles(&t), [("perplexity", 0), ("perplexity", 1)], "none is dropped");
        assert_eq!(t.rows[0], (a, vec!["2.000".into(), "2.500".into()]));
    }
}
