//! Versions of Debian packages and their order (Debian policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version, as written. Equal are those that neither is later: `1.0` and `0:1.00-0`.
#[derive(Clone, Debug)]
pub struct Version(String);

/// What is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the version of a Debian package")]
pub struct ParseVersionError(String);

impl Version {
    /// The version as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Epoch, upstream's version, Debian's revision.
    fn parts(&self) -> (&str, &str, &str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("0", &self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        (epoch, upstream, revision)
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let version = Self(text.to_owned());
        let (epoch, upstream, revision) = version.parts();
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~' | '-' | ':');
        let is_epoch = !epoch.is_empty() && epoch.len() <= 9 && epoch.bytes().all(|byte| byte.is_ascii_digit());
        let is_version = is_epoch
            && !upstream.is_empty()
            && upstream.chars().all(is_allowed)
            && !revision.is_empty()
            && revision.chars().all(|c| is_allowed(c) && c != ':');
        if is_version { Ok(version) } else { Err(ParseVersionError(text.to_owned())) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        by_runs(a.0, b.0).then_with(|| by_runs(a.1, b.1)).then_with(|| by_runs(a.2, b.2))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Compares run by run: what is no number by [`weight`], numbers by value.
fn by_runs(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (left, right) =
            (split(&mut a, |byte| !byte.is_ascii_digit()), split(&mut b, |byte| !byte.is_ascii_digit()));
        let longer = left.len().max(right.len());
        let weights = |run: &[u8], at: usize| weight(run.get(at).copied());
        let order = (0..longer).map(|at| weights(left, at).cmp(&weights(right, at))).find(|order| order.is_ne());
        if let Some(order) = order {
            return order;
        }
        let (left, right) = (split(&mut a, u8::is_ascii_digit), split(&mut b, u8::is_ascii_digit));
        let (left, right) = (without_zeros(left), without_zeros(right));
        let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the bytes off the front of `text` that are `wanted`.
fn split<'a>(text: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|byte| !wanted(byte)).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    run
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len())..]
}

/// `~` sorts before the end, the end before letters, letters before everything else.
fn weight(byte: Option<u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(other) => i32::from(other) + 256,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::skip::skipped;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_in_debians_order() {
        let ascending = [
            "0~~",
            "0~",
            "0~a",
            "0",
            "0.0",
            "0.0a",
            "1.0~rc1~",
            "1.0~rc1",
            "1.0~rc1-1",
            "1.0",
            "1.0-0+b1",
            "1.0-1~bpo1",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0+dfsg-1",
            "1.0.1",
            "1.10",
            "2",
            "10",
            "1:0.1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(version(pair[0]).cmp(&version(pair[1])), Ordering::Less, "{pair:?}");
        }
        assert_eq!(version("1.0"), version("0:1.00-0"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", ":", "1:", "a:1", "1-", "1_0", "1 0", "1:2:3-", "-1", "9999999999:1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn versions_compare_as_dpkg_compares_them(a in "[0-2]:[0-9][0-9a-b.+~]{0,6}(-[0-9a-b.+~]{1,4})?", b in "[0-9][0-9a-b.+~]{0,6}(-[0-9a-b.+~]{1,4})?") {
            let (left, right) = (version(&a), version(&b));
            for (operator, expected) in [("lt", left < right), ("eq", left == right), ("gt", left > right)] {
                let Ok(status) = Command::new("dpkg").args(["--compare-versions", &a, operator, &b]).status() else {
                    skipped("dpkg, the judge of this test, is not installed");
                    return Ok(());
                };
                prop_assert_eq!(status.success(), expected, "{} {} {}", a, operator, b);
            }
        }
    }
}
