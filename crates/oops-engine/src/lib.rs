//! Walks the graph: key, look up, run, publish
