//! Non-overlapping windows over token sequences.

use oops_artifact::TokenSet;

/// Cuts every sequence into windows of `length` tokens, dropping its tail; a sequence shorter than a window is one
/// window as it is. At most `most` windows, from the start. Windows that predict nothing (one token) are left out.
pub(crate) fn windows(tokens: &TokenSet, length: usize, most: Option<usize>) -> Vec<&[u32]> {
    tokens
        .sequences
        .iter()
        .flat_map(|s| s.chunks(length).filter(move |w| w.len() == length || s.len() < length))
        .filter(|w| w.len() > 1)
        .take(most.unwrap_or(usize::MAX))
        .collect()
}

/// Splits windows into groups of at most `tokens` tokens (at least one window each), in order.
pub(crate) fn groups<'a, 'b>(windows: &'b [&'a [u32]], tokens: usize) -> Vec<&'b [&'a [u32]]> {
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
    use oops_artifact::TokensInfo;
    use oops_core::Digest;

    use super::*;

    fn set(sequences: Vec<Vec<u32>>) -> TokenSet {
        let info = TokensInfo {
            text: "t".into(),
            text_digest: Digest::of(b""),
            documents: 1,
            text_tokens: 0,
            bos: false,
            packing: "documents".into(),
            sequences: sequences.len(),
            tokens: 0,
            vocab: 9,
        };
        TokenSet { info, offsets: vec![0; sequences.len()], sequences }
    }

    #[test]
    fn tails_are_dropped_but_short_documents_stay_whole() {
        let t = set(vec![(0..7).collect(), vec![8, 8], vec![5]]);
        assert_eq!(windows(&t, 3, None), [&[0, 1, 2][..], &[3, 4, 5], &[8, 8]]);
        assert_eq!(windows(&t, 3, Some(1)).len(), 1);
    }

    #[test]
    fn groups_cover_all_windows_in_order() {
        let (a, b, c) = ([1u32; 4], [2u32; 4], [3u32; 9]);
        let all = [&a[..], &b[..], &c[..]];
        let g = groups(&all, 8);
        assert_eq!(g.iter().map(|x| x.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(groups(&all, 1).len(), 3);
    }
}
