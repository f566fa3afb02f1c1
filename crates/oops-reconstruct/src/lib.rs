//! A plan and statistics to smaller, corrected weights
