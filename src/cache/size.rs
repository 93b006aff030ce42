//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: `20GB`, `1.5 TiB`, `500M`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: write a number with a unit, such as `20GB` or `500 MiB`")]
pub struct ParseSizeError(String);

const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseSizeError(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let bytes = whole.checked_mul(*factor).ok_or_else(wrong)?;
        // No more digits than there can be bytes.
        let digits = fraction.len().min(15);
        let part: u128 = format!("0{}", &fraction[..digits]).parse().map_err(|_| wrong())?;
        let part = u128::from(*factor) * part / 10u128.pow(u32::try_from(digits).map_err(|_| wrong())?);
        let part = u64::try_from(part).map_err(|_| wrong())?;
        bytes.checked_add(part).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimal = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
        match decimal.into_iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("20GB", 20_000_000_000),
            (" 1.5 TiB ", 3 << 39),
            ("500m", 500_000_000),
            ("2 kib", 2048),
            ("0.001kB", 1),
        ] {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes), "{text}");
        }
        for bad in ["", "GB", "-1GB", "1.2.3GB", "20 EB", "99999999999999999999", "99999999TiB", "1,5 GB"] {
            assert!(bad.parse::<Size>().unwrap_err().to_string().contains("`20GB`"), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for (bytes, text) in [(0, "0 bytes"), (20_000_000_000, "20 GB"), (1500, "1500 bytes"), (500_000_000, "500 MB")]
        {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
