//! A streaming decoder with per-block widths, and its checkpoints
