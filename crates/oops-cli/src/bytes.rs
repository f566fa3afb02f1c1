//! Amounts of bytes and time: how flags write them, and progress over bytes.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    commands::size,
    terminal::{err, is_live},
};

/// Time between two progress lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// A whole number and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

/// Parses 30d, 2w, 12h, 45m or 10s.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let seconds = split(text).and_then(|(n, unit)| {
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return None,
        };
        n.checked_mul(unit)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "a whole number with s, m, h, d or w, for example 30d".to_owned())
}

/// Parses 20GB, 512MiB or a plain number of bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = split(text).and_then(|(n, unit)| {
        let unit: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return None,
        };
        n.checked_mul(unit)
    });
    bytes.ok_or_else(|| "a whole number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, for example 20GB".to_owned())
}

/// Shows how far a command is: a bar on a terminal, elsewhere a line now and then.
pub(crate) struct Meter {
    what: &'static str,
    bar: ProgressBar,
    last: Instant,
}

impl Meter {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = if is_live() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        bar.set_prefix(what);
        let style =
            ProgressStyle::with_template("{prefix}  {bar:24} {bytes}/{total_bytes} · {bytes_per_sec} · {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { what, bar, last: Instant::now() }
    }

    /// So many bytes are done, of so many.
    pub(crate) fn at(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if !is_live() && self.last.elapsed() >= BETWEEN_LINES && done < total {
            self.last = Instant::now();
            err(&format!("{}: {} of {}", self.what, size(done), size(total)));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units_and_nothing_else() {
        assert_eq!(parse_time("30d"), Ok(Duration::from_hours(720)));
        assert_eq!(parse_size("20GB"), Ok(20_000_000_000));
        assert_eq!((parse_size("2 KiB"), parse_size("7")), (Ok(2048), Ok(7)));
        for wrong in ["", "d", "30", "3x", "-1d", "99999999999999999999d", "18446744073709551615w"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "GB", "1.5GB", "20 bananas", "99999999999TB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
