//! The time of a dated archive: `20261101T000000Z`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Seconds that pass until an archive of a time is complete: what is younger may still change.
const SETTLED: i64 = 12 * 60 * 60;
const DAY: i64 = 24 * 60 * 60;
const FORM: &str = "%Y%m%dT%H%M%SZ";

/// A time as snapshot archives write it, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot(String);

impl Snapshot {
    /// The last midnight (UTC) that is long enough ago for its archive to be complete: all locks of a day are the same.
    pub fn before(now: Timestamp) -> Self {
        let second = (now.as_second() - SETTLED).max(0).div_euclid(DAY) * DAY;
        Self::at(Timestamp::from_second(second).unwrap_or_default())
    }

    /// The archive at `time`.
    pub fn at(time: Timestamp) -> Self {
        Self(time.strftime(FORM).to_string())
    }
}

impl FromStr for Snapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let date = || text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == "2026-11-01".len());
        let time = DateTime::strptime(FORM, text).ok().or_else(|| date().map(|date| date.at(0, 0, 0, 0)));
        let time = time.and_then(|time| time.to_zoned(TimeZone::UTC).ok()).map(|zoned| zoned.timestamp());
        time.map(Self::at).ok_or_else(|| "write a date (`2026-11-01`) or a time as `20261101T000000Z`".to_owned())
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_and_others_are_not() {
        for (text, expected) in [("2026-11-01", "20261101T000000Z"), ("20261101T093000Z", "20261101T093000Z")] {
            assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), expected);
        }
        for wrong in ["", "today", "2026-13-01", "20261101", "20261101T000000Z/../..", "20261101T250000Z"] {
            assert!(wrong.parse::<Snapshot>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn todays_archive_is_one_that_is_complete() {
        let at = |time: &str| Snapshot::before(time.parse().unwrap()).to_string();
        assert_eq!(at("2026-11-21T11:59:59Z"), "20261120T000000Z");
        assert_eq!(at("2026-11-21T12:00:00Z"), "20261121T000000Z");
    }
}
