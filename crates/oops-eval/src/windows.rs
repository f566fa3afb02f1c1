//! Non-overlapping windows over token sequences.

use oops_artifact::TokenSet;
use oops_core::Digest;

/// Cuts every sequence into windows of `length` tokens, dropping its tail; a sequence shorter than a window is one
/// window as it is. Where sequences begin with BOS, so does every window, and BOS counts among its `length` tokens. At
/// most `most` windows, from the start. Windows that predict nothing (one token) are left out.
pub(crate) fn windows(tokens: &TokenSet, length: usize, most: Option<usize>) -> Vec<Vec<u32>> {
    let cut = |(bos, text): (Option<u32>, Vec<u32>)| -> Vec<Vec<u32>> {
        let room = length - bos.iter().len();
        let whole = text.chunks(room).filter(|w| w.len() == room || text.len() < room);
        whole.map(|w| bos.into_iter().chain(w.iter().copied()).collect()).collect()
    };
    let all = texts(tokens, length).into_iter().flat_map(cut).filter(|w| w.len() > 1);
    all.take(most.unwrap_or(usize::MAX)).collect()
}

/// What is cut into windows, each with the BOS that its windows begin with. Packed sequences that begin with BOS and are
/// longer than a window are the text that they were cut from: cut one by one, each would lose a tail, since a window has
/// room for fewer of its tokens.
fn texts(tokens: &TokenSet, length: usize) -> Vec<(Option<u32>, Vec<u32>)> {
    let begins = |s: &[u32]| tokens.info.bos && !s.is_empty();
    let mut out: Vec<(Option<u32>, Vec<u32>)> = Vec::new();
    let mut end = None;
    for (sequence, &offset) in tokens.sequences.iter().zip(&tokens.offsets) {
        let (bos, text) = sequence.split_at(usize::from(begins(sequence)));
        let goes_on = tokens.info.packing == "packed" && end == Some(offset) && sequence.len() > length;
        match out.last_mut().filter(|(before, _)| goes_on && before.is_some() && before.as_ref() == bos.first()) {
            Some((_, before)) => before.extend(text),
            None => out.push((bos.first().copied(), text.to_vec())),
        }
        end = Some(offset + text.len() as u64);
    }
    out
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
    fn packed_sequences_with_bos_lose_nothing_between_them() {
        let mut t = TokenSet::of(vec![vec![9, 1, 2, 3, 4, 5], vec![9, 6, 7, 8, 1, 2], vec![9, 3, 4, 5, 6, 7]], 10);
        (t.info.bos, t.info.packing, t.offsets) = (true, "packed".to_owned(), vec![0, 5, 20]);
        let joined = [&[9, 1, 2, 3][..], &[9, 4, 5, 6], &[9, 7, 8, 1], &[9, 3, 4, 5]];
        assert_eq!(windows(&t, 4, None), joined, "but nothing over the gap before the third");
        assert_eq!(windows(&t, 6, None), t.sequences);
        assert_eq!(windows(&t, 9, None), t.sequences);
        t.info.packing = "documents".to_owned();
        assert_eq!(windows(&t, 4, None)[1], [9, 6, 7, 8], "documents stay apart");
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
