//! Records, run logs and memos of a store, guided by coverage.
#![no_main]
#![allow(missing_docs, reason = "the macro makes the entry point")]
libfuzzer_sys::fuzz_target!(init: oops_fuzz::write_seeds("store_files"), |data: &[u8]| oops_fuzz::feed("store_files", data));
