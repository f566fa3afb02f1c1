//! A report with the names of texts in it.

use oops_artifact::{Artifact, ReportTable};
use oops_core::{Digest, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::protocol::{line, named, texts};

/// A report as people read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownTable {
    /// Titles of the columns; no two are the same.
    pub columns: Vec<String>,
    /// Model and one cell per column.
    pub rows: Vec<(Digest, Vec<String>)>,
    /// The protocols of perplexities.
    pub notes: Vec<String>,
}

/// The report of an artifact; `text` names a text by the digests of its parts.
pub fn shown(artifact: &Artifact, text: &dyn Fn(&[Digest]) -> String) -> Result<ShownTable> {
    Ok(of(ReportTable::read(artifact)?, text))
}

fn of(table: ReportTable, text: &dyn Fn(&[Digest]) -> String) -> ShownTable {
    let names = names(&table.protocols, text);
    let protocols: Vec<_> = table.protocols.iter().zip(&names).map(|(p, n)| named(p, n)).collect();
    let title = |c: &oops_artifact::Column| match names[c.protocol].as_str() {
        "" => c.title.clone(),
        name => format!("{} ({name})", c.title),
    };
    let titles: Vec<String> = table.columns.iter().map(title).collect();
    // Figures of one text under different protocols say which.
    let several = |i: usize| titles.iter().filter(|t| **t == titles[i]).count() > 1;
    let number = |i: usize| format!("{} [{}]", titles[i], table.columns[i].protocol + 1);
    let columns: Vec<String> =
        (0..titles.len()).map(|i| if several(i) { number(i) } else { titles[i].clone() }).collect();
    let numbered = |p: usize| (0..titles.len()).any(|i| table.columns[i].protocol == p && several(i));
    let note = |(p, protocol): (usize, &Map<String, Value>)| {
        let number = if numbered(p) { format!(" [{}]", p + 1) } else { String::new() };
        line(protocol).map(|line| format!("Perplexity protocol{number}: {line}."))
    };
    let notes = protocols.iter().enumerate().filter_map(note).collect();
    ShownTable { columns, rows: table.rows, notes }
}

/// Name of each protocol's text, empty without one. Different texts have different names: their digests tell those apart
/// whose files are called the same.
fn names(protocols: &[Map<String, Value>], text: &dyn Fn(&[Digest]) -> String) -> Vec<String> {
    let all: Vec<Vec<Digest>> = protocols.iter().map(texts).collect();
    let plain: Vec<String> = all.iter().map(|t| if t.is_empty() { String::new() } else { text(t) }).collect();
    let name = |i: usize| {
        let clash = (0..all.len()).any(|j| plain[j] == plain[i] && all[j] != all[i]);
        if clash { format!("{} {}", plain[i], oops_artifact::text_digest(&all[i]).short()) } else { plain[i].clone() }
    };
    (0..all.len()).map(name).collect()
}

#[cfg(test)]
mod tests {
    use oops_artifact::Column;
    use serde_json::json;

    use super::*;

    fn table(protocols: &[Value]) -> ShownTable {
        let columns = (0..protocols.len()).map(|protocol| Column { title: "perplexity".into(), protocol }).collect();
        let protocols = protocols.iter().map(|p| p.as_object().cloned().unwrap()).collect();
        let table = ReportTable { columns, rows: Vec::new(), protocols };
        of(table, &|_| "t.txt".to_owned())
    }

    fn protocol(text: &str, packing: &str) -> Value {
        json!({
            "texts": [Digest::of(text.as_bytes())], "packing": packing, "windows": 2, "window_tokens": 8, "tokens": 16,
            "predicted_tokens": 14, "bos": false, "dtype": "f32"
        })
    }

    #[test]
    fn titles_tell_texts_and_protocols_apart() {
        let one = table(&[protocol("a", "packed")]);
        assert_eq!(one.columns, ["perplexity (t.txt)"]);
        assert!(
            one.notes[0].starts_with("Perplexity protocol: t.txt (packed), 2 windows of at most 8"),
            "{:?}",
            one.notes
        );
        let packings = table(&[protocol("a", "packed"), protocol("a", "random")]);
        assert_eq!(packings.columns, ["perplexity (t.txt) [1]", "perplexity (t.txt) [2]"]);
        assert!(packings.notes[1].starts_with("Perplexity protocol [2]: t.txt (random)"));
        let texts = table(&[protocol("a", "packed"), protocol("b", "packed")]);
        assert_ne!(texts.columns[0], texts.columns[1]);
        assert!(texts.columns[1].contains(&Digest::of(b"b").short()), "{:?}", texts.columns);
    }
}
