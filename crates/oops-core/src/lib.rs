//! Nouns of structured pruning: dimensions, sites, units, plans, budgets, digests, faults
