//! Finds keys and values in YAML text.
//!
//! serde_yaml gives values without places. This is a reader of places without values: it follows block and flow style,
//! quotes, comments and block scalars, and gives up quietly where the text is stranger than that (a diagnostic then
//! points at the nearest place that it does know). serde_yaml alone decides what the text means.

mod flow;
mod reader;

use std::ops::Range;

use reader::Reader;

/// A place in the text, with the places inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Bytes of the value.
    pub(crate) span: Range<usize>,
    /// Entries of a mapping, in order of the text; items of a sequence have their index as key.
    pub(crate) entries: Vec<Entry>,
}

/// An entry of a mapping or sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key without quotes.
    pub(crate) key: String,
    /// Bytes of the key.
    pub(crate) key_span: Range<usize>,
    /// The value.
    pub(crate) value: Spot,
}

impl Spot {
    /// The places in a text.
    pub(crate) fn of(text: &str) -> Self {
        Reader::new(text).document()
    }

    /// The entry at a path of keys; of two equal keys the last.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Entry> {
        let (first, rest) = path.split_first()?;
        let entry = self.entries.iter().rev().find(|e| e.key == *first)?;
        if rest.is_empty() { Some(entry) } else { entry.value.find(rest) }
    }
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::*;

    const SAMPLE: &str = r#"# a comment: with colon
version: 1
about: >
  folded text: not a key
  more
stages:
  dense: { use: source.model, with: { path: "a: b.gguf", "quoted key": 1 } } # tail
  text:
    use: source.text   # comment
    in:
      model: dense
    with:
      path: ../text # not: a key
      list:
      - one
      - { two: 2 }
  'odd name': {use: x,
     in: {models: [a, b,
       c], tokens: t}}
  url: {with: {at: http://x/y:z}}
"#;

    fn same_shape(spot: &Spot, value: &Value) {
        match value {
            Value::Mapping(m) => {
                let keys: Vec<_> = m.keys().map(|k| k.as_str().unwrap()).collect();
                assert_eq!(spot.entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), keys);
                spot.entries.iter().zip(m.values()).for_each(|(e, v)| same_shape(&e.value, v));
            }
            Value::Sequence(s) => {
                assert_eq!(spot.entries.len(), s.len());
                spot.entries.iter().zip(s).for_each(|(e, v)| same_shape(&e.value, v));
            }
            _ => assert!(spot.entries.is_empty(), "{spot:?}"),
        }
    }

    #[test]
    fn places_have_the_shape_that_serde_yaml_sees() {
        same_shape(&Spot::of(SAMPLE), &serde_yaml::from_str(SAMPLE).unwrap());
        let marked = format!("%YAML 1.2\n---\n{SAMPLE}");
        assert_eq!(Spot::of(&marked).entries.len(), 3);
    }

    #[test]
    fn spans_are_the_text_of_keys_and_values() {
        let spots = Spot::of(SAMPLE);
        let shown = |path: &[&str]| {
            let entry = spots.find(path).unwrap();
            (&SAMPLE[entry.key_span.clone()], &SAMPLE[entry.value.span.clone()])
        };
        assert_eq!(shown(&["version"]), ("version", "1"));
        assert_eq!(shown(&["stages", "dense", "with", "path"]), ("path", "\"a: b.gguf\""));
        assert_eq!(shown(&["stages", "text", "use"]), ("use", "source.text"));
        assert_eq!(shown(&["stages", "text", "with", "path"]), ("path", "../text"));
        assert_eq!(shown(&["stages", "text", "with", "list", "1", "two"]), ("two", "2"));
        assert_eq!(shown(&["stages", "odd name", "in", "models", "2"]), ("c", "c"));
        assert_eq!(shown(&["stages", "url", "with", "at"]), ("at", "http://x/y:z"));
    }

    #[test]
    fn any_text_is_read_to_an_end() {
        for text in ["", "{", "[[[[", "a: [", "\"", "- - -", ": :", "{a", "é: {ü: 'x", "a:\n\tb", "|", "{:}", "---"] {
            let _ = Spot::of(text);
        }
        let _ = Spot::of(&"[".repeat(100_000));
        let _ = Spot::of(&"- ".repeat(100_000));
    }
}
