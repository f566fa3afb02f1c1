//! What models without memory of the story reach: unigram, bigram and trigram by absolute discounting.
//!
//! p(w | h) = max(c(hw) − D, 0)/c(h) + D·n(h)/c(h)·p(w | h′), with n(h) the number of different words after h, h′ the
//! shorter history, down to the uniform distribution, and D = 0.75 (Ney, Essen and Kneser, 1994).

use std::collections::HashMap;

const DISCOUNT: f64 = 0.75;

#[derive(Default)]
struct History {
    total: u64,
    words: HashMap<u32, u64>,
}

/// Counts of up to `order` tokens in a row.
pub(crate) struct Ngram {
    order: usize,
    vocab: usize,
    histories: HashMap<Vec<u32>, History>,
}

impl Ngram {
    /// Counts `docs`; their first token is history only, as it is for the model.
    pub(crate) fn count(order: usize, vocab: usize, docs: &[Vec<u32>]) -> Self {
        let mut histories: HashMap<Vec<u32>, History> = HashMap::new();
        for doc in docs {
            for at in 1..doc.len() {
                for length in 0..order.min(at + 1) {
                    let history = histories.entry(doc[at - length..at].to_vec()).or_default();
                    history.total += 1;
                    *history.words.entry(doc[at]).or_default() += 1;
                }
            }
        }
        Self { order, vocab, histories }
    }

    /// Perplexity over all tokens of `docs` but the first of each.
    pub(crate) fn perplexity(&self, docs: &[Vec<u32>]) -> f64 {
        let (mut sum, mut tokens) = (0.0, 0);
        for doc in docs {
            for at in 1..doc.len() {
                sum -= self.probability(&doc[at.saturating_sub(self.order - 1)..at], doc[at]).ln();
                tokens += 1;
            }
        }
        (sum / f64::from(tokens.max(1))).exp()
    }

    fn probability(&self, history: &[u32], word: u32) -> f64 {
        let shorter = || match history {
            [] => 1.0 / self.vocab as f64,
            [_, rest @ ..] => self.probability(rest, word),
        };
        let Some(counts) = self.histories.get(history) else { return shorter() };
        let total = counts.total as f64;
        let seen = counts.words.get(&word).map_or(0.0, |&c| c as f64 - DISCOUNT);
        seen / total + DISCOUNT * counts.words.len() as f64 / total * shorter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_for_seen_and_unseen_histories() {
        let docs = [vec![0, 1, 2, 1, 2, 3], vec![0, 2, 2, 1]];
        let model = Ngram::count(3, 5, &docs);
        for history in [&[][..], &[1], &[4], &[1, 2], &[4, 4]] {
            let sum: f64 = (0..5).map(|w| model.probability(history, w)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{history:?} {sum}");
        }
    }

    #[test]
    fn bigram_by_hand() {
        // After 1 came 2, 2: p(2|1) = (2 − 0.75)/2 + 0.75·1/2·p(2); p(2) = (2 − 0.75)/3 + 0.75·2/3·1/4.
        let model = Ngram::count(2, 4, &[vec![0, 1, 2], vec![1, 2]]);
        let unigram = 1.25 / 3.0 + 0.75 * 2.0 / 3.0 / 4.0;
        assert!((model.probability(&[1], 2) - (0.625 + 0.375 * unigram)).abs() < 1e-12);
    }
}
