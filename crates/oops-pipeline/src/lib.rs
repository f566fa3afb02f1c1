//! Pipeline files to a checked graph
