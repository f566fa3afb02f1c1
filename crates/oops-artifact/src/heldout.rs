//! Which held-out tokens may judge what was fitted to the others.
//!
//! Every `period`-th sequence is held out. That alone keeps no judgement honest: random windows overlap, rows of a data
//! set repeat, and sequences may all begin alike. A held-out token is *leaked*, and does not judge, where
//!
//! 1. a fitted sequence covers its place in the text. Places are compared by offset, and the tokens there must be the
//!    same too, since the sequences of a mix come from several texts;
//! 2. it is part of a run of [`RUN`] tokens that occurs in a fitted sequence (or of a whole sequence, if that is shorter);
//! 3. its sequence and a fitted one are the same up to and including it. Both then have the same activations there, as
//!    every sequence has at its BOS token.
//!
//! Leaked tokens count as fitted ones, so that the statistics over all tokens are the same whatever was held out.

mod leaks;
mod rows;

use serde::{Deserialize, Serialize};

pub use rows::{Part, Rows};

use crate::{TokenSet, is_heldout};

/// Tokens in a row that two texts do not share by chance: fixed phrases are shorter, copied passages longer.
pub const RUN: usize = 32;

/// Fewest tokens that can judge. The relative error of a repair is a mean over tokens, so what it needs is a number of
/// tokens, whatever the width of a site. Squared errors of single tokens vary by once or twice their mean: over 64 of
/// them the mean is known to some 20 %, and a repair that is overfitted is off by far more.
pub const LEAST_TOKENS: usize = 64;

/// Smallest share of the fitted tokens that can judge: what is left of a text that is held out almost nowhere is not a
/// sample of it.
pub const LEAST_SHARE: f64 = 0.01;

/// How many tokens are fitted, and how many may judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldoutCounts {
    /// Tokens of the sequences that are not held out.
    pub fitted: usize,
    /// Tokens of those that are.
    pub heldout: usize,
    /// Held-out tokens that are leaked.
    pub leaked: usize,
}

impl HeldoutCounts {
    /// Tokens that judge: those held out and not leaked, or none where these are too few.
    pub fn judging(self) -> usize {
        let left = self.heldout - self.leaked;
        if left >= self.least() { left } else { 0 }
    }

    /// The fewest tokens that could judge here.
    pub fn least(self) -> usize {
        LEAST_TOKENS.max((LEAST_SHARE * self.fitted as f64).ceil() as usize)
    }

    /// Why no token judges, if none does, and what helps.
    pub fn lack(self) -> Option<String> {
        let Self { heldout, leaked, .. } = self;
        let help = "use more text, or windows that overlap less (`packing: packed`, fewer `sequences`)";
        match (self.judging(), heldout) {
            (0, 0) => Some(format!("no sequence is held out, so no token can judge what is fitted; {help}")),
            (0, _) => Some(format!(
                "of {heldout} held-out tokens {leaked} are in fitted sequences too, and the other {} are too few to judge \
                 what is fitted (at least {} are needed); {help}",
                heldout - leaked,
                self.least()
            )),
            _ => None,
        }
    }
}

/// The tokens of a set that judge, sequence by sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Heldout {
    period: usize,
    counts: HeldoutCounts,
    /// For each sequence whether each of its tokens judges; nothing for a fitted sequence.
    judges: Vec<Vec<bool>>,
}

impl Heldout {
    /// Of the tokens of `set` if every `period`-th sequence is held out; 0 holds out none.
    pub fn of(set: &TokenSet, period: usize) -> Self {
        let mut judges = leaks::unleaked(set, period);
        let heldout = judges.iter().map(Vec::len).sum();
        let left: usize = judges.iter().flatten().map(|&j| usize::from(j)).sum();
        let counts = HeldoutCounts { fitted: set.tokens() - heldout, heldout, leaked: heldout - left };
        if counts.judging() == 0 {
            judges.iter_mut().flatten().for_each(|j| *j = false);
        }
        Self { period, counts, judges }
    }

    /// How many tokens are fitted, and how many may judge.
    pub fn counts(&self) -> HeldoutCounts {
        self.counts
    }

    /// Whether the sequence at `index` is held out.
    pub fn holds_out(&self, index: usize) -> bool {
        is_heldout(index, self.period)
    }

    /// Whether each token of the sequence at `index`, which has `tokens` of them, judges.
    pub fn judges(&self, index: usize, tokens: usize) -> Vec<bool> {
        let mut judges = self.judges.get(index).cloned().unwrap_or_default();
        judges.resize(tokens, false);
        judges
    }
}

#[cfg(test)]
mod tests;
