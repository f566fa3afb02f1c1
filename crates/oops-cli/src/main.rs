//! The `oops` binary.
fn main() {}
