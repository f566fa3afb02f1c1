//! A mutation fuzzer: from a target's name and an iteration's number follow the input, so that every find can be made
//! again. `OOPS_FUZZ_SECONDS=600` runs each target for that long instead of 300 inputs; `OOPS_FUZZ_FROM` is the number of
//! the first.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use oops_core::Rng;

/// Pieces that parsers of all sorts care about.
const WORDS: &[&[u8]] = &[
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"9223372036854775808",
    b"NaN",
    b".inf",
    b"../",
    b"/",
    b"\\",
    b"\0",
    b"\xff\xfe",
    b"&a [*a]",
    b"*a",
    b"<<: *a",
    b"!!binary ",
    b"? ",
    b"|-\n",
    b": ",
    b"- ",
    b"#",
    b"%",
    b"\n",
    b"  ",
    b"\t",
    b"{{{{{{{{",
    b"[[[[[[[[",
    b"F64",
    b"BF16",
    b"GGUF",
    b"\xf0\x9f\x98\x80",
];
const NUMBERS: &[u64] =
    &[0, 1, 7, 8, 127, 128, 255, 511, 512, 65_535, 1 << 31, u32::MAX as u64, 1 << 33, 1 << 62, u64::MAX];

#[expect(clippy::print_stderr, reason = "a campaign says what it did")]
fn fuzz(name: &str) {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let seconds = number("OOPS_FUZZ_SECONDS");
    let first = number("OOPS_FUZZ_FROM").unwrap_or(0);
    let mut target = oops_fuzz::target(name);
    let (start, mut slowest, mut count) = (Instant::now(), Duration::ZERO, 0);
    while seconds.map_or(count < 300, |s| start.elapsed().as_secs() < s) {
        let i = first + count;
        let mut rng = Rng::new(i, name);
        let which = rng.below(target.corpus.len());
        let input = mutated(&mut rng, &target.corpus, which);
        let ended = catch_unwind(AssertUnwindSafe(|| target.feed(which, &input)));
        assert!(ended.is_ok(), "{name}: a find at {i}");
        slowest = slowest.max(ended.unwrap_or_default());
        count += 1;
    }
    eprintln!("{name}: {count} inputs in {:.0?}, slowest {slowest:.1?}, no find", start.elapsed());
}

#[test]
fn pipelines() {
    fuzz("pipelines");
}

#[test]
fn safetensors() {
    fuzz("safetensors");
}

#[test]
fn gguf() {
    fuzz("gguf");
}

#[test]
fn store_files() {
    fuzz("store_files");
}

#[test]
fn cache_files() {
    fuzz("cache_files");
}

fn mutated(rng: &mut Rng, corpus: &[Vec<u8>], which: usize) -> Vec<u8> {
    let mut bytes = corpus[which].clone();
    for _ in 0..=rng.below(6) {
        // Heads and tables are at the front: half of the changes go there.
        let within = if rng.below(2) == 0 { bytes.len().min(2048) } else { bytes.len() };
        let at = rng.below(within.max(1)).min(bytes.len());
        let scale = 1 + rng.below(8);
        let end = (at + rng.below(1 << scale)).min(bytes.len());
        match rng.below(10) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            2 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            5 => drop(bytes.splice(at..at, WORDS[rng.below(WORDS.len())].iter().copied())),
            6 => {
                let number = NUMBERS[rng.below(NUMBERS.len())].to_le_bytes();
                put(&mut bytes, at, &number[..[1, 2, 4, 8][rng.below(4)]]);
            }
            7 => {
                let other = &corpus[rng.below(corpus.len())];
                let from = rng.below(other.len() + 1);
                let to = (from + rng.below(200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            8 => digits(&mut bytes, at, NUMBERS[rng.below(NUMBERS.len())]),
            _ if rng.below(4) == 0 => bytes.truncate(at),
            _ => bytes[at..end].fill(rng.below(256) as u8),
        }
    }
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..].iter_mut().zip(value).for_each(|(b, v)| *b = *v);
}

/// Replaces the next decimal number by another.
fn digits(bytes: &mut Vec<u8>, at: usize, number: u64) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|n| at + n) else { return };
    let length = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    bytes.splice(start..start + length, number.to_string().into_bytes());
}
