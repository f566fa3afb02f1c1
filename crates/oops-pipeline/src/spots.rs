//! Finds keys and values in YAML text.
//!
//! serde_yaml gives values without places. This is a reader of places without values: it follows block and flow style,
//! quotes, comments and block scalars, and gives up quietly where the text is stranger than that (a diagnostic then
//! points at the nearest place that it does know). serde_yaml alone decides what the text means.

use std::ops::Range;

/// Deeper nesting than this is not followed.
const MAX_DEPTH: usize = 64;

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
        let mut reader = Reader { text, pos: 0, depth: 0 };
        reader.skip_markers();
        reader.block(-1)
    }

    /// The entry at a path of keys; of two equal keys the last.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Entry> {
        let (first, rest) = path.split_first()?;
        let entry = self.entries.iter().rev().find(|e| e.key == *first)?;
        if rest.is_empty() { Some(entry) } else { entry.value.find(rest) }
    }
}

struct Reader<'t> {
    text: &'t str,
    pos: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) {
        self.pos += self.peek().map_or(0, char::len_utf8);
    }

    fn column(&self) -> isize {
        let line = self.text[..self.pos].rfind('\n').map_or(0, |n| n + 1);
        (self.pos - line) as isize
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.bump();
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|c| c != '\n');
    }

    /// Skips blanks, line ends and comments.
    fn skip_space(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            if self.peek() != Some('#') {
                return;
            }
            self.skip_line();
        }
    }

    /// Skips `%` directives and the `---` line.
    fn skip_markers(&mut self) {
        self.skip_space();
        while self.rest().starts_with("---") || self.rest().starts_with('%') {
            self.skip_line();
            self.skip_space();
        }
    }

    /// Skips anchors and tags before a value.
    fn skip_properties(&mut self) {
        while matches!(self.peek(), Some('&' | '!')) {
            self.skip_while(|c| !c.is_whitespace());
            self.skip_while(|c| c == ' ');
        }
    }

    fn at_dash(&self) -> bool {
        let mut chars = self.rest().chars();
        chars.next() == Some('-') && chars.next().is_none_or(char::is_whitespace)
    }

    /// A value that starts on this line or below, indented by more than `indent`.
    fn block(&mut self, indent: isize) -> Spot {
        self.skip_space();
        let column = self.column();
        if self.peek().is_none() || column <= indent || self.depth >= MAX_DEPTH {
            return Spot { span: self.pos..self.pos, entries: Vec::new() };
        }
        self.depth += 1;
        let spot = match self.peek() {
            _ if self.at_dash() => self.block_sequence(column),
            Some('{' | '[' | '|' | '>' | '&' | '!') => self.inline(indent),
            _ => self.block_mapping(column, indent),
        };
        self.depth -= 1;
        spot
    }

    /// Entries `key: value` whose keys start at `column`; if the first line has no `: ` it is a scalar.
    fn block_mapping(&mut self, column: isize, indent: isize) -> Spot {
        let start = self.pos;
        let mut entries = Vec::new();
        loop {
            let before = self.pos;
            let (key, key_span) = self.scalar(false);
            self.skip_while(|c| c == ' ');
            if self.peek() != Some(':') {
                self.pos = before;
                let scalar = if entries.is_empty() { self.inline(indent) } else { Spot::default() };
                return if entries.is_empty() { scalar } else { Spot { span: start..before, entries } };
            }
            self.bump();
            let value = self.block_value(column);
            let end = value.span.end.max(key_span.end);
            entries.push(Entry { key, key_span, value });
            self.skip_space();
            if self.peek().is_none() || self.column() != column || self.at_dash() {
                return Spot { span: start..end, entries };
            }
        }
    }

    fn block_value(&mut self, column: isize) -> Spot {
        self.skip_while(|c| c == ' ');
        self.skip_properties();
        if !matches!(self.peek(), None | Some('\n' | '\r' | '#')) {
            return self.inline(column);
        }
        self.skip_space();
        // A sequence may start in the column of its key.
        if self.at_dash() && self.column() == column { self.block(column - 1) } else { self.block(column) }
    }

    fn block_sequence(&mut self, column: isize) -> Spot {
        let start = self.pos;
        let mut entries = Vec::new();
        let mut end = start;
        while self.at_dash() && self.column() == column {
            let dash = self.pos;
            self.bump();
            let value = self.block(column);
            end = value.span.end.max(dash + 1);
            entries.push(Entry { key: entries.len().to_string(), key_span: dash..dash + 1, value });
            self.skip_space();
        }
        Spot { span: start..end, entries }
    }

    /// A value that starts here; lines indented by more than `indent` may belong to it.
    fn inline(&mut self, indent: isize) -> Spot {
        self.skip_properties();
        match self.peek() {
            Some('{' | '[') => self.flow(),
            Some('|' | '>') => self.block_scalar(indent),
            _ => {
                let (_, span) = self.scalar(false);
                self.skip_deeper_lines(indent);
                Spot { span, entries: Vec::new() }
            }
        }
    }

    fn block_scalar(&mut self, indent: isize) -> Spot {
        let start = self.pos;
        self.skip_line();
        let end = self.pos;
        self.skip_deeper_lines(indent);
        Spot { span: start..end, entries: Vec::new() }
    }

    /// Skips the rest of this line and the following lines that are empty or indented by more than `indent`.
    fn skip_deeper_lines(&mut self, indent: isize) {
        loop {
            self.skip_line();
            let line_end = self.pos;
            self.skip_while(char::is_whitespace);
            if self.peek().is_none() || self.column() <= indent {
                self.pos = line_end;
                return;
            }
        }
    }

    fn flow(&mut self) -> Spot {
        self.skip_space();
        self.skip_properties();
        let start = self.pos;
        let open = self.peek();
        if !matches!(open, Some('{' | '[')) {
            let (_, span) = self.scalar(true);
            return Spot { span, entries: Vec::new() };
        }
        self.bump();
        self.depth += 1;
        let entries = if self.depth < MAX_DEPTH { self.flow_entries(open == Some('{')) } else { Vec::new() };
        self.depth -= 1;
        Spot { span: start..self.pos, entries }
    }

    fn flow_entries(&mut self, mapping: bool) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None => return entries,
                Some('}' | ']') => {
                    self.bump();
                    return entries;
                }
                Some(',') => self.bump(),
                _ if mapping => entries.push(self.flow_entry()),
                _ => {
                    let key = entries.len().to_string();
                    let value = self.flow();
                    entries.push(Entry { key, key_span: value.span.clone(), value });
                }
            }
        }
    }

    fn flow_entry(&mut self) -> Entry {
        let (key, key_span) = self.scalar(true);
        self.skip_space();
        let value = if self.peek() == Some(':') {
            self.bump();
            self.flow()
        } else {
            Spot { span: key_span.end..key_span.end, entries: Vec::new() }
        };
        Entry { key, key_span, value }
    }

    /// A quoted or plain scalar on one line. Always moves on, so that callers' loops end.
    fn scalar(&mut self, flow: bool) -> (String, Range<usize>) {
        let start = self.pos;
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            self.bump();
            let mut escaped = false;
            while self.peek().is_some_and(|c| escaped || c != quote) {
                escaped = quote == '"' && !escaped && self.peek() == Some('\\');
                self.bump();
            }
            let text = self.text[start + 1..self.pos].to_owned();
            self.bump();
            return (text, start..self.pos);
        }
        self.bump();
        while self.peek().is_some_and(|c| c != '\n') && !self.plain_ends(flow) {
            self.bump();
        }
        let text = self.text[start..self.pos].trim_end();
        (text.to_owned(), start..start + text.len())
    }

    fn plain_ends(&self, flow: bool) -> bool {
        let mut chars = self.rest().chars();
        let (here, next) = (chars.next(), chars.next());
        let closes = |c: Option<char>| matches!(c, Some(',' | '[' | ']' | '{' | '}'));
        let colon = here == Some(':') && (next.is_none_or(char::is_whitespace) || (flow && closes(next)));
        let comment = next == Some('#') && here.is_some_and(char::is_whitespace);
        colon || comment || (flow && closes(here))
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
