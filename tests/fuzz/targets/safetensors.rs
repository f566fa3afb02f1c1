//! Safetensors and config.json, guided by coverage.
#![no_main]
#![allow(missing_docs, reason = "the macro makes the entry point")]
libfuzzer_sys::fuzz_target!(init: oops_fuzz::write_seeds("safetensors"), |data: &[u8]| oops_fuzz::feed("safetensors", data));
