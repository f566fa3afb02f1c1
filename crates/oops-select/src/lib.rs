//! Scores and a budget to a plan
