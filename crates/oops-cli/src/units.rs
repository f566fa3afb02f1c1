//! Quantities as people write and read them.

use std::time::Duration;

/// Units of bytes; the first letter alone is the binary one.
const UNITS: [(&str, u64); 12] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("B", 1),
];

/// Reads a number of bytes, for example `4GiB`, `1.5G` or `500MB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit = UNITS.iter().find(|(name, _)| text.ends_with(name)).copied().unwrap_or(("", 1));
    let number = text.strip_suffix(unit.0).unwrap_or(text).trim().parse::<f64>();
    match number.map(|n| n * unit.1 as f64) {
        Ok(bytes) if (1.0..1e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err("must be a size above 0, for example 4GiB, 1.5G or 500MB".to_owned()),
    }
}

/// Reads a span of time: 30d, 2w, 12h, 45m or 10s.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        let n = text.trim().strip_suffix(*unit)?;
        n.bytes().all(|b| b.is_ascii_digit()).then(|| n.parse::<u64>().ok()?.checked_mul(*seconds)).flatten()
    });
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "must be a whole number with s, m, h, d or w, for example 30d".to_owned())
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{bytes} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

/// Seconds for people.
pub(crate) fn seconds(s: f64) -> String {
    match s {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{} min {:02} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {:02} min", s as u64 / 3600, s as u64 / 60 % 60),
    }
}

/// A moment as `2026-11-24 16:12:05` in UTC, from seconds since 1970, in the proleptic Gregorian calendar.
pub(crate) fn moment(unix_s: u64) -> String {
    let (days, second) = ((unix_s / 86_400) as i64, unix_s % 86_400);
    // Years from March, in eras of 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_with_their_unit_and_nothing_else() {
        assert_eq!(duration("30d"), Ok(Duration::from_hours(720)));
        for wrong in ["", "d", "30", "3x", "-1d", "+1d", "99999999999999999999d", "18446744073709551615w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let sizes = ["4GiB", "1.5G", "500MB", "64 KiB", "1024", "7B"].map(|t| bytes(t).unwrap());
        assert_eq!(sizes, [4 << 30, 3 << 29, 500_000_000, 65_536, 1024, 7]);
        assert!(["", "GiB", "-1GB", "0", "4 apples", "inf"].iter().all(|t| bytes(t).is_err()));
    }

    #[test]
    fn quantities_are_short() {
        assert_eq!([999, 1500, 2_000_000, 3_210_000_000].map(size), ["999 B", "1.5 kB", "2.0 MB", "3.21 GB"]);
        assert_eq!([1.234, 63.21, 605.0, 9000.0].map(seconds), ["1.23 s", "63.2 s", "10 min 05 s", "2 h 30 min"]);
    }

    #[test]
    fn moments_know_leap_years() {
        let moments = [0, 951_782_400, 1_709_164_799, 1_795_512_345].map(moment);
        let expected = ["1970-01-01 00:00:00", "2000-02-29 00:00:00", "2024-02-28 23:59:59", "2026-11-24 09:25:45"];
        assert_eq!(moments, expected);
    }
}
