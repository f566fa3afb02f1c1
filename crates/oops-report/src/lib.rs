//! One table per run
