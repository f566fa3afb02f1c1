//! Typed artifacts and their codecs
