//! The stage contract
