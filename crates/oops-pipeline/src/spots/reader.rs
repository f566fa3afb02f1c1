//! The reader of block style, and what both styles share.

use super::{Entry, Spot};

/// Deeper nesting than this is not followed.
pub(super) const MAX_DEPTH: usize = 64;

/// A position in the text.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) pos: usize,
    pub(super) depth: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, pos: 0, depth: 0 }
    }

    pub(super) fn document(&mut self) -> Spot {
        self.skip_markers();
        self.block(-1)
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.pos..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn bump(&mut self) {
        self.pos += self.peek().map_or(0, char::len_utf8);
    }

    fn column(&self) -> isize {
        let line = self.text[..self.pos].rfind('\n').map_or(0, |n| n + 1);
        (self.pos - line) as isize
    }

    pub(super) fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.bump();
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|c| c != '\n');
    }

    /// Skips blanks, line ends and comments.
    pub(super) fn skip_space(&mut self) {
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
    pub(super) fn skip_properties(&mut self) {
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
}
