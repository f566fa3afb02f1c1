//! Hugging Face checkpoints: [`files`] finds, [`config`] and [`safetensors`] read, [`write`] writes.

pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod precision;
pub(crate) mod rope;
pub(crate) mod safetensors;
pub(crate) mod write;
