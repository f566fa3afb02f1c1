//! A question as the prompt that a chat model was trained on, by the checkpoint's own Jinja template.

use std::borrow::Cow;

use minijinja::{Environment, Error, ErrorKind, Value, context, value::Kwargs};
use oops_core::{Fault, Result};
use serde::Serialize as _;

use crate::{Checkpoint, special::Special};

impl Checkpoint {
    /// The chat of one user's message up to where the answer begins, as text with special tokens in it.
    pub fn chat_prompt(&self, message: &str) -> Result<String> {
        let template = self.chat_template().ok_or_else(|| {
            Fault::data("the checkpoint has no chat template").help("leave --chat out to continue the prompt as it is")
        })?;
        let special = self.special()?;
        render(template, &[("user", message)], true, &special)
            .map_err(|e| Fault::data(format!("the chat template cannot be used: {e:#}")).at("chat template"))
    }

    /// A whole chat, as roles with what they say, as text with special tokens in it.
    pub fn chat_text(&self, messages: &[(&str, &str)]) -> Result<String> {
        let template = self.chat_template().ok_or_else(|| {
            Fault::data("the text is a chat, and the checkpoint has no chat template")
                .help("use a model with a chat template, or name a column of plain text with `text_field`")
        })?;
        let special = self.special()?;
        render(template, messages, false, &special)
            .map_err(|e| Fault::data(format!("the chat template cannot be used: {e:#}")).at("chat template"))
    }
}

/// Renders as transformers does: its two whitespace settings, its functions and filters, Python's methods of strings and
/// lists, and its names of special tokens.
fn render(
    template: &str,
    messages: &[(&str, &str)],
    prompt: bool,
    special: &Special,
) -> std::result::Result<String, Error> {
    let messages = messages.iter().map(|(role, content)| context! { role => role, content => content });
    let messages: Vec<Value> = messages.collect();
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    for (name, text) in &special.texts {
        environment.add_global(name.clone(), text.clone());
    }
    environment.render_str(
        &without_generation_tags(template),
        context! {
            messages => messages,
            add_generation_prompt => prompt,
            tools => (),
            documents => (),
        },
    )
}

/// `{% generation %}` marks what a model is trained to say; rendered text is that of its body.
fn without_generation_tags(template: &str) -> Cow<'_, str> {
    if !template.contains("generation") {
        return template.into();
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let Some((inside, after)) = tag.split_once("%}") else {
            rest = tag;
            continue;
        };
        let word = inside.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        let plain = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        };
        if plain == word {
            out.push_str(inside);
        } else {
            out.push_str(&inside.replacen(word, plain, 1));
        }
        out.push_str("%}");
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

/// The local time by a format of C's `strftime`.
fn strftime_now(format: &str) -> std::result::Result<String, Error> {
    use std::fmt::Write as _;
    let mut out = String::new();
    let written = write!(out, "{}", chrono::Local::now().format(format));
    written.map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {format:?} is no format")))?;
    Ok(out)
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`: nothing is escaped for HTML, and `, ` and `: ` separate.
fn tojson(value: &Value, options: Kwargs) -> std::result::Result<Value, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    // Others change keys' order or escapes, which no published template asks for.
    options.assert_all_used()?;
    let fault = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut bytes = Vec::new();
    match indent {
        Some(n) => {
            let spaces = " ".repeat(n);
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter)).map_err(fault)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)).map_err(fault)?,
    }
    let text = String::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// JSON on one line with Python's separators.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rendered(template: &str, message: &str) -> std::result::Result<String, Error> {
        let texts = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(n, t)| (n.to_owned(), t.to_owned()));
        render(template, &[("user", message)], true, &Special { texts: BTreeMap::from(texts), ..Special::default() })
    }

    #[test]
    fn templates_of_the_usual_make_are_rendered() {
        let chatml = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
                      {{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}\
                      {{ '<|im_start|>' + message['role'] + '\n' + message['content'].strip() + '<|im_end|>' + '\n' }}\
                      {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let text = rendered(chatml, " Hi ").unwrap();
        let system = "<|im_start|>system\nBe kind<|im_end|>\n";
        assert_eq!(text, format!("{system}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"));
        let llama = "{{ bos_token }}\n{% for m in messages %}\n    {%- if m.role == 'tool' %}{% continue %}{% endif %}\n\
                     [INST] {{ m.content | trim }} [/INST]\n{% endfor %}";
        assert_eq!(rendered(llama, "Hi").unwrap(), "<s>\n[INST] Hi [/INST]\n");
        assert_eq!(rendered("{% if tools is none %}{{ pad_token }}no{% endif %}", "Hi").unwrap(), "no");
    }

    #[test]
    fn what_a_template_refuses_is_said() {
        let error = rendered("{{ raise_exception('roles must alternate') }}", "Hi").unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn the_marks_of_what_is_trained_leave_their_body() {
        let template = "{% for m in messages %}{% generation %}[{{ m.content }}]{% endgeneration %}{% endfor %}\n\
                        a {%- generation -%} b {%- endgeneration +%} {{ 'generation' }}";
        assert_eq!(rendered(template, "Hi").unwrap(), "[Hi]ab generation");
    }

    #[test]
    fn the_date_is_todays() {
        let before = chrono::Local::now().format("%d %b %Y").to_string();
        let text = rendered("{{ strftime_now('%d %b %Y') }}", "Hi").unwrap();
        let after = chrono::Local::now().format("%d %b %Y").to_string();
        assert!(text == before || text == after, "{text}");
        assert!(rendered("{{ strftime_now('%!') }}", "Hi").is_err());
    }

    /// As `json.dumps` of Python 3 writes them.
    #[test]
    fn json_is_pythons() {
        let call =
            |filter: &str| rendered(&format!("{{{{ {{'a': [1, '<é\\'>'], 'b': none}} | {filter} }}}}"), "").unwrap();
        assert_eq!(call("tojson"), r#"{"a": [1, "<é'>"], "b": null}"#);
        assert_eq!(call("tojson(indent=1)"), "{\n \"a\": [\n  1,\n  \"<é'>\"\n ],\n \"b\": null\n}");
    }
}
