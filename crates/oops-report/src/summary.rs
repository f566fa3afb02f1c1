//! `report.summary`: dense against pruned, one row per model, one column per figure.

use oops_artifact::{Kind, Metrics, ReportTable};
use oops_core::{Digest, Result};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::protocol::line;

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
    /// 2: perplexities under one protocol share a column.
    const VERSION: u32 = 2;
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
    // One column per protocol and figure: perplexities on two texts are two columns, those of two models on one text,
    // measured by two stages, are one.
    let present = |p: &Map<String, Value>, f: &usize| {
        let of_protocol = metrics.iter().filter(|m| m.protocol == *p).flat_map(|m| &m.models);
        of_protocol.into_iter().any(|row| row.contains_key(FIGURES[*f].0))
    };
    let first = |i: &usize| !metrics[..*i].iter().any(|m| m.protocol == metrics[*i].protocol);
    let protocols: Vec<_> = (0..metrics.len()).filter(first).map(|i| &metrics[i].protocol).collect();
    let of_protocol = |p| (0..FIGURES.len()).filter(move |f| present(p, f)).map(move |f| (p, f));
    let columns: Vec<(&Map<String, Value>, usize)> = protocols.iter().flat_map(|&p| of_protocol(p)).collect();
    let title = |&(p, f): &(&Map<String, Value>, usize)| {
        let name = FIGURES[f].1;
        p.get("text").and_then(Value::as_str).map_or(name.to_owned(), |text| format!("{name} ({text})"))
    };
    let cell = |model: &Digest, &(p, f): &(&Map<String, Value>, usize)| -> Result<String> {
        for m in metrics.iter().filter(|m| m.protocol == *p) {
            for (i, row) in m.models.iter().enumerate() {
                if m.model(i)? == *model {
                    return Ok(row.get(FIGURES[f].0).map(figure).unwrap_or_default());
                }
            }
        }
        Ok(String::new())
    };
    let rows = models
        .iter()
        .map(|model| Ok((*model, columns.iter().map(|c| cell(model, c)).collect::<Result<_>>()?)))
        .collect::<Result<_>>()?;
    let notes = protocols.iter().filter_map(|p| line(p)).map(|l| format!("Perplexity protocol: {l}.")).collect();
    Ok(ReportTable { columns: columns.iter().map(title).collect(), rows, notes })
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

    #[test]
    fn metrics_are_joined_by_model() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let ppl = metrics(
            json!({"text": "t.txt", "windows": 2, "window_tokens": 8, "tokens": 16, "predicted_tokens": 14, "bos": false, "dtype": "f32"}),
            vec![
                json!({"model_digest": a, "perplexity": 19.92349}),
                json!({"model_digest": b, "perplexity": 51_300.0}),
            ],
        );
        let size = metrics(json!({}), vec![json!({"model_digest": b, "parameters": 1_234_567})]);
        let t = table(&[ppl, size]).unwrap();
        assert_eq!(t.columns, ["perplexity (t.txt)", "parameters"]);
        assert_eq!(t.rows[0], (a, vec!["19.923".into(), String::new()]));
        assert_eq!(t.rows[1], (b, vec!["5.130e4".into(), "1 234 567".into()]));
        assert!(t.notes[0].contains("2 windows of at most 8 tokens") && t.notes.len() == 1);
    }

    #[test]
    fn two_stages_with_one_protocol_share_a_column() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let of = |model: Digest, ppl: f64| {
            metrics(json!({"text": "t.txt"}), vec![json!({"model_digest": model, "perplexity": ppl})])
        };
        let t = table(&[of(a, 2.0), of(b, 3.0)]).unwrap();
        assert_eq!(t.columns, ["perplexity (t.txt)"]);
        assert_eq!(t.rows, [(a, vec!["2.000".into()]), (b, vec!["3.000".into()])]);
    }
}
