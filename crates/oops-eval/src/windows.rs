//! Non-overlapping windows over token sequences.

use oops_artifact::TokenSet;
use oops_core::Digest;

/// Cuts every sequence into windows of `length` tokens, dropping its tail; a sequence shorter than a window is one
/// window as it is. Where sequences begin with BOS, so does every window, and BOS counts among its `length` tokens. At
/// most `most` windows, from the start. Windows that predict nothing (one token) are left out.
pub(crate) fn windows(tokens: &TokenSet, length: usize, most: Option<usize>) -> Vec<Vec<u32>> {
    let cut = |s: &Vec<u32>| -> Vec<Vec<u32>> {
        let (bos, text) = if tokens.info.bos && !s.is_empty() { s.split_at(1) } else { (&[][..], &s[..]) };
        let room = length - bos.len();
        let whole = text.chunks(room).filter(|w| w.len() == room || text.len() < room);
        whole.map(|w| [bos, w].concat()).collect()
    };
    let all = tokens.sequences.iter().flat_map(cut).filter(|w| w.len() > 1);
    all.take(most.unwrap_or(usize::MAX)).collect()
}

/// Digest of the windows: of their lengths and ids, in order. Two measurements with the same digest are of the same tokens.
pub(crate) fn digest(windows: &[Vec<u32>]) -> Digest {
    let of_window = |w: &Vec<u32>| std::iter::once(w.len() as u32).chain(w.iter().copied()).collect::<Vec<_>>();
    let bytes: Vec<u8> = windows.iter().flat_map(of_window).flat_map(u32::to_le_bytes).collect();
    Digest::of(&bytes)
}

/// Splits windows into groups of at most `tokens` tokens (at least one window each), in order.
pub(crate) fn groups(windows: &[Vec<u32>], tokens: usize) -> Vec<&[Vec<u32>]> {
    let mut out = Vec::new();
    let (mut from, mut sum) = (0, 0);
    for (i, w) in windows.iter().enumerate() {
        if i > from && sum + w.len() > tokens {
            out.push(&windows[from..i]);
            (from, sum) = (i, 0);
        }
        sum += w.len();
    }
    if from < windows.len() {
        out.push(&windows[from..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_dropped_but_short_documents_stay_whole() {
        let t = TokenSet::of(vec![(0..7).collect(), vec![8, 8], vec![5]], 9);
        assert_eq!(windows(&t, 3, None), [&[0, 1, 2][..], &[3, 4, 5], &[8, 8]]);
        assert_eq!(windows(&t, 3, Some(1)).len(), 1);
    }

    #[test]
    fn every_window_begins_with_bos_where_sequences_do() {
        let mut t = TokenSet::of(vec![vec![9, 1, 2, 3, 4, 5], vec![9, 6], vec![9]], 10);
        t.info.bos = true;
        assert_eq!(windows(&t, 3, None), [&[9, 1, 2][..], &[9, 3, 4], &[9, 6]]);
        assert_eq!(windows(&t, 6, None)[0], t.sequences[0], "as long as the sequence: nothing is added");
    }

    #[test]
    fn other_windows_have_another_digest() {
        let of = |windows: &[&[u32]]| digest(&windows.iter().map(|w| w.to_vec()).collect::<Vec<_>>());
        assert_eq!(of(&[&[1, 2], &[3]]), of(&[&[1, 2], &[3]]));
        assert_ne!(of(&[&[1, 2], &[3]]), of(&[&[1], &[2, 3]]));
        assert_ne!(of(&[&[1, 2]]), of(&[&[2, 1]]));
    }

    #[test]
    fn groups_cover_all_windows_in_order() {
        let all = [vec![1; 4], vec![2; 4], vec![3; 9]];
        let g = groups(&all, 8);
        assert_eq!(g.iter().map(|x| x.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(groups(&all, 1).len(), 3);
    }
}
