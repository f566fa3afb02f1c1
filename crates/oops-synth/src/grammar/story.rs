//! A story in the making: who and what is bound to which slot, and the text so far.
//!
//! Template language: `{k}` is what is bound to `k`; `{k.a}` the same with an indefinite article, `{k.n}` its
//! last word; for persons also `{k.he}`, `{k.him}`, `{k.his}`, `{k.kind}` (girl, fox …), `{k.call}` (as others call out), `{k.trait}`, `{k.manner}`; `[x|y]` is a free choice.
//! Sentences are capitalised when they are written, so templates need not know what comes first.

use std::collections::BTreeMap;

use super::words::{BEASTS, BOYS, GIRLS, TRAITS, Trait};
use crate::rng::Rng;

/// Someone who acts.
#[derive(Clone, Debug)]
pub(super) struct Person {
    name: String,
    kind: &'static str,
    she: bool,
    nature: &'static Trait,
}

impl Person {
    fn form(&self, form: &str) -> Option<String> {
        let by_gender = |she, he| if self.she { she } else { he };
        let word: &str = match form {
            "call" if self.name.starts_with("the ") => return Some(format!("dear {}", self.kind)),
            "" | "call" => &self.name,
            "he" => by_gender("she", "he"),
            "him" => by_gender("her", "him"),
            "his" => by_gender("her", "his"),
            "kind" => self.kind,
            "a" => return Some(format!("{} {}", article(self.kind), self.kind)),
            "trait" => self.nature.name,
            "manner" => self.nature.manner,
            "habit" => self.nature.habit,
            "moral" => self.nature.moral,
            _ => return None,
        };
        Some(word.to_owned())
    }
}

/// A story in the making.
pub(super) struct Story<'r> {
    /// The source of choices.
    pub(super) rng: &'r mut Rng,
    persons: BTreeMap<&'static str, Person>,
    words: BTreeMap<&'static str, String>,
    taken: Vec<String>,
    text: String,
    /// Questions about what happened and their answers, as finished sentences.
    facts: Vec<(String, String)>,
}

impl<'r> Story<'r> {
    /// An empty story.
    pub(super) fn new(rng: &'r mut Rng) -> Self {
        Self {
            rng,
            persons: BTreeMap::new(),
            words: BTreeMap::new(),
            taken: Vec::new(),
            text: String::new(),
            facts: Vec::new(),
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// One of `items`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.rng.below(items.len())]
    }

    /// Binds `key` to a word of `table` that is bound to no other key, unless all are taken.
    pub(super) fn draw(&mut self, key: &'static str, table: &[&str]) {
        let used = |w: &str| self.words.values().chain(&self.taken).any(|v| v == w);
        let free: Vec<&str> = table.iter().copied().filter(|w| !used(w)).collect();
        let word = self.pick(if free.is_empty() { table } else { &free });
        self.bind(key, word);
    }

    /// Binds `key` to `word`.
    pub(super) fn bind(&mut self, key: &'static str, word: impl Into<String>) {
        self.words.insert(key, word.into());
    }

    /// Keeps `word` from being drawn again.
    pub(super) fn take(&mut self, word: String) {
        self.taken.push(word);
    }

    /// What is bound to `key`; empty if nothing is.
    pub(super) fn word(&self, key: &str) -> &str {
        self.words.get(key).map_or("", String::as_str)
    }

    /// Binds `key` to a new character: a child or, one time in three, an animal.
    pub(super) fn person(&mut self, key: &'static str) {
        let she = self.rng.chance(1, 2);
        let beast = self.rng.chance(1, 3);
        let table = if beast { BEASTS } else { [BOYS, GIRLS][usize::from(she)] };
        let taken = |n: &str| self.persons.values().any(|p| p.name.ends_with(n));
        let free: Vec<&'static str> = table.iter().copied().filter(|n| !taken(n)).collect();
        let name = self.pick(&free);
        let nature = &TRAITS[self.rng.below(TRAITS.len())];
        let person = if beast {
            Person { name: format!("the {name}"), kind: name, she, nature }
        } else {
            Person { name: name.to_owned(), kind: if she { "girl" } else { "boy" }, she, nature }
        };
        self.persons.insert(key, person);
    }

    /// Whether the person's trait is one of these.
    pub(super) fn is(&self, key: &str, traits: &[&str]) -> bool {
        self.persons.get(key).is_some_and(|p| traits.contains(&p.nature.name))
    }

    /// Makes another person the holder of a slot: `to` becomes who `from` is.
    pub(super) fn cast(&mut self, to: &'static str, from: &str) {
        if let Some(p) = self.persons.get(from).cloned() {
            self.persons.insert(to, p);
        }
    }

    /// Remembers a question about the story and its answer, both templates.
    pub(super) fn fact(&mut self, question: &str, answer: &str) {
        let pair = (self.expand(question), self.expand(answer));
        self.facts.push(pair);
    }

    /// Takes a remembered question and binds it to `question` and `answer`.
    pub(super) fn recall(&mut self) -> bool {
        if self.facts.is_empty() {
            return false;
        }
        let at = self.rng.below(self.facts.len());
        let (question, answer) = self.facts.swap_remove(at);
        self.bind("question", question);
        self.bind("answer", answer);
        true
    }

    /// Writes one of these templates.
    pub(super) fn say(&mut self, templates: &[&str]) {
        let template = self.pick(templates);
        // Twice: a trait's habit and moral are templates themselves.
        let once = self.expand(template);
        let sentence = capitalise(&self.expand(&once));
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&sentence);
    }

    fn expand(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '[']) {
            out.push_str(&rest[..at]);
            let close = if rest[at..].starts_with('{') { '}' } else { ']' };
            let Some(len) = rest[at..].find(close) else { break };
            let inner = &rest[at + 1..at + len];
            if close == '}' {
                out.push_str(&self.slot(inner));
            } else {
                let options: Vec<&str> = inner.split('|').collect();
                let option = self.pick(&options).to_owned();
                out.push_str(&self.expand(&option));
            }
            rest = &rest[at + len + 1..];
        }
        out + rest
    }

    /// An unknown slot stays visible; a test asserts that no story shows one.
    fn slot(&self, slot: &str) -> String {
        let (key, form) = slot.split_once('.').unwrap_or((slot, ""));
        if let Some(form) = self.persons.get(key).and_then(|p| p.form(form)) {
            return form;
        }
        match (self.words.get(key), form) {
            (Some(word), "") => word.clone(),
            (Some(word), "a") => format!("{} {word}", article(word)),
            (Some(word), "n") => word.rsplit(' ').next().unwrap_or(word).to_owned(),
            _ => format!("{{{slot}}}"),
        }
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// Raises the first letter, the first after a full stop, and the first that opens direct speech.
fn capitalise(text: &str) -> String {
    let (mut out, mut raise, mut quoted, mut last) = (String::with_capacity(text.len()), true, false, ' ');
    for c in text.chars() {
        if c.is_ascii_alphabetic() {
            out.push(if raise { c.to_ascii_uppercase() } else { c });
            raise = false;
        } else {
            out.push(c);
            match c {
                '"' => {
                    quoted = !quoted;
                    // `"Where?" asked Mia` goes on in the same sentence, `"Here." Mia sat down` does not.
                    raise = quoted || last == '.';
                }
                '.' | '!' | '?' => raise = true,
                _ => {}
            }
        }
        last = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_choices_and_capitals_are_expanded() {
        let mut rng = Rng::new(3);
        let mut s = Story::new(&mut rng);
        s.bind("x", "old kite");
        s.bind("b", "the fox");
        s.say(&["{b} had {x.a}. [{b} ran|{b} ran]. \"where is the {x.n}?\" asked {b}. \"here.\" {b} sat {y}."]);
        let want =
            "The fox had an old kite. The fox ran. \"Where is the kite?\" asked the fox. \"Here.\" The fox sat {y}.";
        assert_eq!(s.finish(), want);
    }

    #[test]
    fn nobody_and_nothing_is_drawn_twice() {
        let mut rng = Rng::new(4);
        let mut s = Story::new(&mut rng);
        for key in ["A", "B", "C", "D"] {
            s.person(key);
            s.draw(["p", "q", "r", "t"][key.as_bytes()[0] as usize - 65], &["hill", "lake", "mill", "cave"]);
        }
        s.say(&["{A} {B} {C} {D} {p} {q} {r} {t}"]);
        let text = s.finish();
        let mut words: Vec<&str> = text.split(' ').filter(|w| !w.eq_ignore_ascii_case("the")).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 8, "{text}");
    }
}
