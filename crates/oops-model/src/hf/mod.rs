//! Hugging Face checkpoints: [`places`] and [`files`] find, [`config`] and [`safetensors`] read, [`contents`] brings both
//! together, [`write`] writes.

pub(crate) mod biases;
pub(crate) mod config;
pub(crate) mod contents;
pub(crate) mod files;
pub(crate) mod json;
mod places;
pub(crate) mod precision;
pub(crate) mod quantised;
pub(crate) mod rope;
pub(crate) mod safetensors;
pub(crate) mod write;
