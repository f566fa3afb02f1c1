//! Exports in the programs that they are made for, through the scripts in `peers/`. Each test needs a Python that has
//! them: OOPS_PEERS_PYTHON, or else `python3`. `cargo test --workspace -- --ignored peers::` runs them.

mod support;

#[path = "peers/tests.rs"]
mod peers;
