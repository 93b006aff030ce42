//! Variables in the URLs of channels and mirrors: `https://host/t/${TOKEN}/channel`.
//!
//! Their values are secrets. So a URL keeps `${TOKEN}` in everything that is written down, cached, logged or shown, and
//! the value is filled in behind all of that, in the one request it is for. A [`Url`] spells the braces `%7B` and
//! `%7D`; [`written`] gives them back.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use url::Url;

use super::Error;
use crate::project::Mirror;

/// The variables that channels and mirrors name, with their values, and the channels that name them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, Variable>,
    /// With the variables in them.
    channels: Vec<Url>,
}

#[derive(Clone, PartialEq, Eq)]
struct Variable {
    /// `None` when it is not set.
    value: Option<String>,
    /// Who names it.
    wanted_by: String,
}

impl Variables {
    /// Adds those of a channel; `place` says where it is written, `value_of` what they are.
    pub fn channel(&mut self, channel: &Url, place: &str, value_of: &dyn Fn(&str) -> Option<String>) {
        if self.add(channel.as_str(), place, value_of) {
            self.channels.push(as_folder(channel.clone()));
        }
    }

    /// Adds those of where a mirror is; `value_of` says what they are.
    pub fn mirror(&mut self, mirror: &Mirror, value_of: &dyn Fn(&str) -> Option<String>) {
        self.add(mirror.to.as_str(), &format!("the mirror of `{}`", written(&mirror.from)), value_of);
    }

    fn add(&mut self, url: &str, wanted_by: &str, value_of: &dyn Fn(&str) -> Option<String>) -> bool {
        let names: Vec<&str> = variables(url).map(|(_, name)| name).collect();
        for name in &names {
            // An empty variable is an unset one to conda-lock. A line end comes from a file and is no part of a token.
            let value = || value_of(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
            let variable = || Variable { value: value(), wanted_by: wanted_by.to_owned() };
            self.values.entry((*name).to_owned()).or_insert_with(variable);
        }
        !names.is_empty()
    }

    /// `target`, from where `canonical` is fetched, with values in place of variables.
    ///
    /// A lock comes from elsewhere and may name any variable: none is filled in that no channel names at that place.
    pub(super) fn fill(&self, canonical: &Url, target: &Url) -> Result<Url, Error> {
        let canonical = without_user(canonical);
        let text = canonical.as_str();
        let below = self.channels.iter().find_map(|channel| text.strip_prefix(without_user(channel).as_str()));
        if let Some((_, name)) = variables(below.unwrap_or(text)).next() {
            return Err(Error::StrayVariable { variable: name.to_owned(), url: written(&canonical) });
        }
        let mut filled = target.clone();
        // The setters encode what would end the part, and fail on no URL that has one.
        filled.set_path(&self.filled(target.path())?);
        if !target.username().is_empty() {
            let _ = filled.set_username(&self.filled(target.username())?);
        }
        if let Some(password) = target.password() {
            let _ = filled.set_password(Some(&self.filled(password)?));
        }
        Ok(filled)
    }

    fn filled(&self, text: &str) -> Result<String, Error> {
        replaced(text, |name| match self.values.get(name) {
            Some(Variable { value: Some(value), .. }) => Ok(value.clone()),
            Some(Variable { value: None, wanted_by }) => {
                Err(Error::UnsetVariable { variable: name.to_owned(), wanted_by: wanted_by.clone() })
            }
            None => Err(Error::StrayVariable { variable: name.to_owned(), url: text.to_owned() }),
        })
    }

    /// `url` with the user and password of the channel it is below, as variables: reqwest takes them out of a URL.
    pub(super) fn with_user(&self, url: &Url) -> Url {
        let mut url = without_user(url);
        let channel = self.channels.iter().find(|channel| url.as_str().starts_with(without_user(channel).as_str()));
        if let Some(channel) = channel {
            let _ = url.set_username(channel.username());
            let _ = url.set_password(channel.password());
        }
        url
    }
}

/// Names only.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// `url` as it is written down: `${NAME}`, with braces.
pub fn written(url: &Url) -> String {
    let mut text = url.as_str().to_owned();
    let encoded: Vec<Range<usize>> = variables(&text).map(|(range, _)| range).collect();
    for range in encoded.into_iter().rev() {
        let braces = text[range.clone()].replace("%7B", "{").replace("%7D", "}");
        text.replace_range(range, &braces);
    }
    text
}

/// Whether `text` is just one variable, and which.
pub fn whole_variable(text: &str) -> Option<&str> {
    variables(text).next().filter(|(range, _)| *range == (0..text.len())).map(|(_, name)| name)
}

/// The variables in `text`, `$NAME` and `${NAME}`: where each is, and its name.
pub fn variables(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.match_indices('$').filter_map(|(start, _)| {
        let rest = &text[start + 1..];
        let (open, close) =
            ["{", "%7B"].into_iter().zip(["}", "%7D"]).find(|(open, _)| rest.starts_with(open)).unwrap_or_default();
        let rest = &rest[open.len()..];
        let name = &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())];
        let is_name = name.starts_with(|c: char| !c.is_ascii_digit()) && rest[name.len()..].starts_with(close);
        is_name.then_some((start..start + 1 + open.len() + name.len() + close.len(), name))
    })
}

fn replaced(text: &str, mut value: impl FnMut(&str) -> Result<String, Error>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for (range, name) in variables(text) {
        out.push_str(&text[end..range.start]);
        out.push_str(&value(name)?);
        end = range.end;
    }
    out.push_str(&text[end..]);
    Ok(out)
}

/// `url` without user and password.
pub(super) fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // Neither setter fails on a URL with a host, and one without a host has no user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// `url` with a slash at its end, so that `…/conda-forge` is no prefix of `…/conda-forge-extra/…`.
pub(super) fn as_folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn known(channel: &str) -> Variables {
        let mut known = Variables::default();
        known.channel(&url(channel), "environment.yml:2:3", &|name| match name {
            "TOKEN" => Some("tk-1\n".into()),
            "PASS" => Some("p@s/s".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        });
        known
    }

    #[test]
    fn variables_are_found_as_conda_lock_finds_them() {
        let names = |text| variables(text).map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names("https://$A:${B_2}@host/t/$%7BC%7D/$D-e"), ["A", "B_2", "C", "D"]);
        assert_eq!(names("a$ $1 ${ ${} ${a b} $%7BX} $"), [""; 0]);
        assert_eq!(
            (whole_variable("${A}"), whole_variable("$A"), whole_variable("$A$B")),
            (Some("A"), Some("A"), None)
        );
        assert_eq!(written(&url("https://host/t/${A}/$B/c%7B.conda")), "https://host/t/${A}/$B/c%7B.conda");
    }

    #[test]
    fn values_are_filled_in_below_their_channel_only() {
        let known = known("https://host/t/${TOKEN}/c");
        let fill = |text: &str| known.fill(&url(text), &url(text));
        assert_eq!(
            fill("https://host/t/${TOKEN}/c/noarch/a.conda").unwrap().as_str(),
            "https://host/t/tk-1/c/noarch/a.conda"
        );
        for stray in
            ["https://evil/${TOKEN}/a", "https://host/t/${TOKEN}/c/${TOKEN}", "https://host/t/${TOKEN}/other/a"]
        {
            assert!(
                matches!(fill(stray), Err(Error::StrayVariable { variable, .. }) if variable == "TOKEN"),
                "{stray}"
            );
        }
        assert!(!format!("{known:?}").contains("tk-1"));
    }

    #[test]
    fn users_come_from_the_channel_and_are_encoded() {
        let known = known("https://me:$PASS@host/c");
        let asked = known.with_user(&url("https://host/c/noarch/a"));
        assert_eq!(asked.as_str(), "https://me:$PASS@host/c/noarch/a");
        let filled = known.fill(&url("https://host/c/noarch/a"), &asked).unwrap();
        assert_eq!(filled.as_str(), "https://me:p%40s%2Fs@host/c/noarch/a");
        assert_eq!(known.with_user(&url("https://host/other/a")).username(), "");
    }

    #[test]
    fn an_unset_variable_is_named_with_its_place() {
        for name in ["UNSET", "EMPTY"] {
            let channel = format!("https://host/t/${name}/c/");
            let error = known(&channel).fill(&url(&channel), &url(&channel)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("environment.yml:2:3"), "{error}");
        }
    }
}
