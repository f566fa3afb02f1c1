//! Stages that bring checkpoints and text in
