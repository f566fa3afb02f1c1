//! Content-addressed blobs and action records
