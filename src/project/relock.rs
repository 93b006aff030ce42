//! How much of a lock may move when it is made anew: the settings `relock`, `refresh`, `prefer-parent`, `min-age`.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::{Serialize, Serializer};

/// What an image's lock may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocking {
    /// How far a relock goes (`relock:`).
    pub policy: RelockPolicy,
    /// Packages that move to their newest version in every relock, named or not (`refresh:`).
    pub refresh: Vec<String>,
    /// Whether versions of the parent's lock are preferred, so that both share layers (`prefer-parent:`).
    pub prefer_parent: bool,
    /// How long a package must have been published before it may be locked (`min-age:`).
    pub min_age: Option<Age>,
    /// Packages that may be locked at any age (`min-age-exempt:`).
    pub min_age_exempt: Vec<String>,
}

impl Default for Relocking {
    fn default() -> Self {
        Self {
            policy: RelockPolicy::default(),
            refresh: Vec::new(),
            prefer_parent: true,
            min_age: None,
            min_age_exempt: Vec::new(),
        }
    }
}

/// How far a relock goes beyond what no longer answers the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelockPolicy {
    /// Nothing moves that can stay.
    #[default]
    Minimal,
    /// Packages that the environment asks for move to their newest versions, others only as those need it.
    Requested,
    /// Every package moves to its newest version.
    Fresh,
}

impl RelockPolicy {
    /// All, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Minimal, Self::Requested, Self::Fresh];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Requested => "requested",
            Self::Fresh => "fresh",
        }
    }
}

impl fmt::Display for RelockPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RelockPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| "write `minimal`, `requested` or `fresh`".to_owned())
    }
}

/// An age, such as `7 days`: weeks, days (of 24 hours) and less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(SignedDuration);

impl Age {
    /// As the standard library has it.
    pub fn duration(self) -> std::time::Duration {
        self.0.unsigned_abs()
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "write an age in weeks, days or hours, such as `7 days` or `36h`";
        let span: Span = text.trim().parse().map_err(|_| EXPECTED.to_owned())?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| EXPECTED.to_owned())?;
        if duration.is_negative() { Err(EXPECTED.to_owned()) } else { Ok(Self(duration)) }
    }
}

/// A point in time after which nothing published counts. Whole seconds, so that a lock can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff(Timestamp);

impl Cutoff {
    /// The cut-off that an age means at `now`: at the start of a day (UTC), so that all locks of a day are the same.
    /// An age from before all time is the start of 1970.
    pub fn of_age(age: Age, now: Timestamp) -> Self {
        const DAY: i64 = 24 * 60 * 60;
        let second = now.checked_sub(age.0).map_or(0, Timestamp::as_second);
        Self::at_second(second.max(0).div_euclid(DAY) * DAY)
    }

    /// What `--exclude-newer` means at `now`: a date (that day, in UTC, still counts), a time as in RFC 3339, or an age.
    ///
    /// # Errors
    /// What to write instead, if it is none of these.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        if let Ok(date) = text.parse::<jiff::civil::Date>()
            && text.len() == "2026-01-01".len()
        {
            let next = date.tomorrow().and_then(|next| next.to_zoned(jiff::tz::TimeZone::UTC));
            return next.map(|next| Self::at_second(next.timestamp().as_second())).map_err(|error| error.to_string());
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::at_second(time.as_second()));
        }
        let age = text.parse::<Age>();
        let expected = "write a date (`2026-01-31`), a time (`2026-01-31T12:00:00Z`) or an age (`7 days`)";
        age.map(|age| Self::of_age(age, now)).map_err(|_| expected.to_owned())
    }

    /// The time itself.
    pub const fn time(self) -> Timestamp {
        self.0
    }

    fn at_second(second: i64) -> Self {
        Self(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// The point in time.
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

/// As in RFC 3339, in UTC.
impl fmt::Display for Cutoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Cutoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_offs_are_dates_times_or_ages() {
        let now = "2026-03-10T15:04:05Z".parse().unwrap();
        let parse = |text| Cutoff::parse(text, now).map(|cutoff| cutoff.to_string());
        assert_eq!(parse("2026-01-31").unwrap(), "2026-02-01T00:00:00Z");
        assert_eq!(parse("2026-01-31T12:00:00+02:00").unwrap(), "2026-01-31T10:00:00Z");
        for (age, expected) in [
            ("7 days", "2026-03-03T00:00:00Z"),
            ("1w", "2026-03-03T00:00:00Z"),
            ("36h", "2026-03-09T00:00:00Z"),
            ("0 days", "2026-03-10T00:00:00Z"),
            ("9000 weeks", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse(age).unwrap(), expected, "{age}");
        }
        for text in ["", "yesterday", "2026", "2026-13-01", "-3 days", "1 month", "7"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
