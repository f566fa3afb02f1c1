//! Perplexity and size of models
