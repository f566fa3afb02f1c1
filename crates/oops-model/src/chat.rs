//! A question as the prompt that a chat model was trained on, by the checkpoint's own Jinja template.

use minijinja::{Environment, Error, ErrorKind, Value, context};
use oops_core::{Fault, Result};

use crate::{Checkpoint, Tokenizer};

impl Checkpoint {
    /// The chat of one user's message up to where the answer begins, as text with special tokens in it.
    pub fn chat_prompt(&self, tokenizer: &Tokenizer, message: &str) -> Result<String> {
        let template = self.chat_template().ok_or_else(|| {
            Fault::data("the checkpoint has no chat template").help("leave --chat out to continue the prompt as it is")
        })?;
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let (bos, eos) = (token(self.config().bos), token(self.config().eos.first().copied()));
        render(template, &[("user", message)], true, &bos, &eos)
            .map_err(|e| Fault::data(format!("the chat template cannot be used: {e:#}")).at("chat template"))
    }

    /// A whole chat, as roles with what they say, as text with special tokens in it.
    pub fn chat_text(&self, messages: &[(&str, &str)]) -> Result<String> {
        let template = self.chat_template().ok_or_else(|| {
            Fault::data("the text is a chat, and the checkpoint has no chat template")
                .help("use a model with a chat template, or name a column of plain text with `text_field`")
        })?;
        let tokenizer = self.tokenizer()?;
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let (bos, eos) = (token(self.config().bos), token(self.config().eos.first().copied()));
        render(template, messages, false, &bos, &eos)
            .map_err(|e| Fault::data(format!("the chat template cannot be used: {e:#}")).at("chat template"))
    }
}

fn render(
    template: &str,
    messages: &[(&str, &str)],
    prompt: bool,
    bos: &str,
    eos: &str,
) -> std::result::Result<String, Error> {
    let messages = messages.iter().map(|(role, content)| context! { role => role, content => content });
    let messages: Vec<Value> = messages.collect();
    let mut environment = Environment::new();
    // As transformers renders it: these two settings, and Python's methods of strings and lists.
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.render_str(
        template,
        context! {
            messages => messages,
            add_generation_prompt => prompt,
            bos_token => bos,
            eos_token => eos,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_the_usual_make_are_rendered() {
        let chatml = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
                      {{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}\
                      {{ '<|im_start|>' + message['role'] + '\n' + message['content'].strip() + '<|im_end|>' + '\n' }}\
                      {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let text = render(chatml, &[("user", " Hi ")], true, "<s>", "</s>").unwrap();
        let system = "<|im_start|>system\nBe kind<|im_end|>\n";
        assert_eq!(text, format!("{system}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"));
        let llama = "{{ bos_token }}\n{% for m in messages %}\n    {%- if m.role == 'tool' %}{% continue %}{% endif %}\n\
                     [INST] {{ m.content | trim }} [/INST]\n{% endfor %}";
        assert_eq!(render(llama, &[("user", "Hi")], true, "<s>", "</s>").unwrap(), "<s>\n[INST] Hi [/INST]\n");
    }

    #[test]
    fn what_a_template_refuses_is_said() {
        let error =
            render("{{ raise_exception('roles must alternate') }}", &[("user", "Hi")], true, "", "").unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }
}
