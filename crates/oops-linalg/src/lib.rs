//! Gram products, Cholesky, ridge regression and quadratic programs over plain slices
