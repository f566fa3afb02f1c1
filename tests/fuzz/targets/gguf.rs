//! GGUF files, guided by coverage.
#![no_main]
#![allow(missing_docs, reason = "the macro makes the entry point")]
libfuzzer_sys::fuzz_target!(init: oops_fuzz::write_seeds("gguf"), |data: &[u8]| oops_fuzz::feed("gguf", data));
