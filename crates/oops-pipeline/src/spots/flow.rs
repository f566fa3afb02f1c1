//! The reader of flow style (`{ a: 1 }`, `[a, b]`) and of scalars.

use std::ops::Range;

use super::{
    Entry, Spot,
    reader::{MAX_DEPTH, Reader},
};

impl Reader<'_> {
    pub(super) fn flow(&mut self) -> Spot {
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
    pub(super) fn scalar(&mut self, flow: bool) -> (String, Range<usize>) {
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
