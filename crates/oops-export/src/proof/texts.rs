//! What a proof runs on: texts that programs which load models disagree about first.

use oops_core::{Result, Rng};
use oops_model::{Checkpoint, Tokenizer};

/// Plain text: every program must make the same tokens of it.
const PLAIN: [&str; 3] = [
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "Once upon a time, in 1984: “Été à Zürich”\n\n\tit cost 12,345.67 – 🙂",
];

/// Text that normalisers change, or that begins and ends with spaces.
const SENSITIVE: [&str; 4] = [
    "ﬁne ① x² Ｆｕｌｌ ｗｉｄｔｈ ™ ½",
    "E\u{301}te\u{301} a\u{300} Zu\u{308}rich, nin\u{303}o, 가\u{11a8}",
    "  two spaces before, three   between\r\n\n\n and a tab\tat the end \t",
    "👩\u{200d}👩\u{200d}👧 🇨🇭 — 中文 кириллица עברית\u{a0}x\u{200b}y",
];

/// The beginning of a text that is as long as it has to be.
const STORY: &str = "The old lighthouse keeper climbed the stairs every evening, lit the lamp and wrote the weather into his book. \
    In 1873 the harbour froze for the first time; no ship came in for eleven weeks, and the bread was baked with potatoes. \
    His daughter asked why the light was lit at all when nobody could see it. \"Because somebody might,\" he said. \
    On the fifth of March a fishing boat that everyone had given up for lost ran straight towards the beam, and seven \
    people were saved. The town paid for a new lamp: 1,250 guilders, three lenses, and a clockwork that turned them. \
    What the keeper wrote that night was short: wind north-west, force 9; visibility poor; light burning. ";

/// Tokens of the long text, unless the model's context is shorter.
const LONG: usize = 200;
/// The widest sliding window that a proof goes beyond: logits of all positions are in memory.
const WIDEST: usize = 1024;
/// Tokens beyond the window.
const BEYOND: usize = 32;
/// Tokens of the random prompt.
const RANDOM: usize = 16;

/// A prompt of a proof.
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// The text that it is all of.
    pub(crate) text: Option<String>,
    /// Whether it is text, so that a model can foretell it.
    pub(crate) written: bool,
    /// Whether every program must cut the text alike.
    pub(crate) plain: bool,
}

/// The prompts of `model`, each of up to `most` tokens. A model without tokenizer gets random ones.
pub(crate) fn prompts(model: &Checkpoint, most: usize) -> Result<Vec<Prompt>> {
    let config = model.config();
    let mut rng = Rng::new(0, "oops-export/prompts");
    let mut random = |n: usize| {
        let ids = (0..n.min(most)).map(|_| rng.below(config.dims.vocab) as u32).collect();
        Prompt { ids, text: None, written: false, plain: false }
    };
    let window = config.sliding_window.filter(|w| *w <= WIDEST).map_or(0, |w| w + BEYOND);
    let long = LONG.max(window).min(most);
    let mut out = vec![random(RANDOM)];
    if !model.has_tokenizer() {
        out.extend([random(RANDOM / 2), random(long)]);
        return Ok(out);
    }
    let tokenizer = model.tokenizer()?;
    for (plain, text) in PLAIN.iter().map(|t| (true, *t)).chain(SENSITIVE.iter().map(|t| (false, *t))) {
        out.extend(written(&tokenizer, text, most, plain));
    }
    out.extend(special(model, &tokenizer, most));
    out.extend(lengthy(&tokenizer, long));
    Ok(out)
}

/// A text as a prompt; `None` if it has no tokens or one that the model has no row for.
fn written(tokenizer: &Tokenizer, text: &str, most: usize, plain: bool) -> Option<Prompt> {
    let mut ids = tokenizer.encode(text).ok().filter(|ids| !ids.is_empty())?;
    let text = (ids.len() <= most).then(|| text.to_owned());
    ids.truncate(most);
    Some(Prompt { ids, text, written: true, plain })
}

/// A text with the special tokens of the model in it.
fn special(model: &Checkpoint, tokenizer: &Tokenizer, most: usize) -> Option<Prompt> {
    let config = model.config();
    let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
    let (bos, eos) = (spelled(config.bos), spelled(config.eos.first().copied()));
    let last = spelled(config.eos.last().copied());
    if bos.is_empty() && eos.is_empty() {
        return None;
    }
    written(tokenizer, &format!("{bos}Good morning!{eos}\n{bos} Again{last}"), most, false)
}

/// As many tokens of the story as asked for.
fn lengthy(tokenizer: &Tokenizer, long: usize) -> Option<Prompt> {
    let once = tokenizer.encode(STORY).ok().filter(|ids| !ids.is_empty())?;
    let mut ids = tokenizer.encode(&STORY.repeat(long.div_ceil(once.len()) + 1)).ok()?;
    ids.truncate(long);
    Some(Prompt { ids, text: None, written: true, plain: true })
}
