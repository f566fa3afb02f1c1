//! Stage that runs the model and accumulates activation statistics
