//! Statistics and weights to one number per unit
