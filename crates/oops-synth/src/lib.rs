//! The embedded model: a story grammar, a tokenizer and a trainer
