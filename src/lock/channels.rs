//! Channels as environments write them: what a lock says of them, and where they are.
//!
//! A lock is published, and a channel's URL may need a secret. So the secret is a variable (`/t/$TOKEN/`,
//! `$USER:$PASSWORD@`), which stays one in the lock, spelled as conda-lock 4 spells it (`_conda_url_from_string` of its
//! `models/channel.py`).

use std::path::Path;

use rattler_conda_types::{Channel, ChannelConfig, Subdir};
use url::Url;

use super::{Error, LockedChannel};
use crate::channel::{variables, whole_variable};
use crate::project::{Environment, ImageSpec, Place};

/// The channels of `image` that hold variables, and where each is written.
///
/// # Errors
/// When one of its channels is none.
pub fn channels_with_variables(image: &ImageSpec) -> Result<Vec<(Url, Place)>, Error> {
    let mut found = Vec::new();
    for (channel, place) in image.environments.iter().flat_map(written) {
        let locked = locked_form(channel, place)?;
        if variables(&locked).next().is_some() {
            found.extend(resolved(&locked, place, &image.folder, &[])?.map(|url| (url.base_url.into(), place.clone())));
        }
    }
    Ok(found)
}

/// The channels of `environment`, and where each is written.
pub(super) fn written(environment: &Environment) -> impl Iterator<Item = (&str, &Place)> {
    environment.channels.iter().map(String::as_str).zip(&environment.channel_places)
}

/// `channel` as a lock has it: as written, but for the variables that stand for a user, a password or a token, which
/// are spelled `${NAME}`.
///
/// # Errors
/// [`Error::ChannelSecret`] where such a part is no variable, [`Error::ChannelHost`] where the host is one.
pub(super) fn locked_form(channel: &str, place: &Place) -> Result<String, Error> {
    let Some((scheme, rest)) = channel.split_once("://") else { return Ok(channel.to_owned()) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if variables(scheme).chain(variables(host)).next().is_some() {
        return Err(Error::ChannelHost { place: place.clone(), channel: channel.to_owned() });
    }
    let braced = |part: &str| match whole_variable(part) {
        Some(name) => Ok(format!("${{{name}}}")),
        None if variables(part).next().is_some() || part.is_empty() => Ok(part.to_owned()),
        None => Err(Error::ChannelSecret { place: place.clone() }),
    };
    let authority = match user {
        None => host.to_owned(),
        Some(user) => {
            let parts = user.splitn(2, ':').map(braced).collect::<Result<Vec<_>, _>>()?;
            let host = host.to_ascii_lowercase();
            format!("{}@{host}", parts.join(":"))
        }
    };
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    // The token is the part behind the last `/t/` that something follows, as conda-lock's expression has it.
    let token = (1..segments.len().saturating_sub(1)).rev().find(|index| segments[index - 1] == "t" && *index >= 2);
    if let Some(index) = token {
        segments[index] = braced(&segments[index])?;
    }
    Ok(format!("{scheme}://{authority}{}", segments.join("/")))
}

impl LockedChannel {
    /// The entry for a channel in its locked form: conda-lock lists the variables that stand for a user, a password or
    /// a token, by name.
    pub(super) fn of(locked: &str) -> Self {
        let (_, rest) = locked.split_once("://").unwrap_or(("", locked));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user).splitn(2, ':');
        let segments: Vec<&str> = path.split('/').collect();
        let token = segments.windows(3).rev().find(|window| window[0] == "t").map(|window| window[1]);
        let mut used_env_vars: Vec<String> = user.chain(token).filter_map(whole_variable).map(str::to_owned).collect();
        used_env_vars.sort_unstable();
        used_env_vars.dedup();
        Self { url: locked.to_owned(), used_env_vars }
    }
}

/// Where `channel`, in its locked form, is: several places for `defaults`. Relative paths begin at `folder`.
///
/// # Errors
/// [`Error::Channel`] if it is no channel.
pub(super) fn resolved(
    channel: &str,
    place: &Place,
    folder: &Path,
    subdirs: &[Subdir],
) -> Result<impl Iterator<Item = Channel> + use<>, Error> {
    let config = ChannelConfig::default_with_root_dir(folder.to_path_buf());
    let parse = |name: &str| {
        let none = |source| Error::Channel { place: place.clone(), channel: channel.to_owned(), source };
        Channel::from_str(name, &config).map_err(none)
    };
    let names = if channel == "defaults" { defaults(subdirs) } else { vec![channel] };
    Ok(names.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?.into_iter())
}

/// What conda's `defaults` stands for (`DEFAULT_CHANNELS_UNIX` and `DEFAULT_CHANNELS_WIN` of its `base/constants.py`).
/// conda asks which system it runs on; a lock must not depend on that, so here it is which systems are locked for. The
/// third one has nothing for others than Windows.
fn defaults(subdirs: &[Subdir]) -> Vec<&'static str> {
    let mut channels = vec!["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"];
    if subdirs.iter().any(|subdir| subdir.is_windows()) {
        channels.push("https://repo.anaconda.com/pkgs/msys2");
    }
    channels
}

/// Why a lock with `channel` is of no use elsewhere; `None` if it is.
pub(super) fn not_portable(channel: &str, place: &Place) -> Option<String> {
    let is_path = channel.starts_with(['.', '/', '~']) && !channel.contains("://");
    let is_file = channel.starts_with("file://");
    (is_path || is_file).then(|| {
        format!("{place}: the channel `{channel}` is a folder of this machine, which the lock will name: others cannot use it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { file: "environment.yml".into(), line: 2, column: 3 }
    }

    fn locked(channel: &str) -> Result<(String, String), Error> {
        let locked = LockedChannel::of(&locked_form(channel, &place())?);
        Ok((locked.url, locked.used_env_vars.join(" ")))
    }

    /// Expected values are those of conda-lock 4.0.3's `Channel.from_string`.
    #[test]
    fn variables_are_spelled_as_conda_lock_does() {
        for (channel, url, variables) in [
            ("conda-forge", "conda-forge", ""),
            ("conda-forge/label/$LABEL", "conda-forge/label/$LABEL", ""),
            ("https://host.com/t/$TOKEN/channel", "https://host.com/t/${TOKEN}/channel", "TOKEN"),
            ("https://host.com/t/${TOKEN}/get/channel/", "https://host.com/t/${TOKEN}/get/channel/", "TOKEN"),
            ("https://$U:$P@Host.com/c", "https://${U}:${P}@host.com/c", "P U"),
            ("https://${U}:${P}@host.com:8080/t/$T/c", "https://${U}:${P}@host.com:8080/t/${T}/c", "P T U"),
            ("https://$U@host.com/c", "https://${U}@host.com/c", "U"),
            ("https://host.com/$ORG/channel", "https://host.com/$ORG/channel", ""),
            ("https://host.com/t/$TOKEN", "https://host.com/t/$TOKEN", ""),
        ] {
            assert_eq!(locked(channel).unwrap(), (url.to_owned(), variables.to_owned()), "{channel}");
        }
    }

    #[test]
    fn secrets_and_hosts_that_vary_are_refused_with_their_place() {
        for secret in ["https://user:hidden@host/c", "https://hidden@host/c", "https://$U:hidden@host/c"] {
            let error = locked(secret).unwrap_err();
            assert!(matches!(error, Error::ChannelSecret { .. }), "{secret}");
            assert!(error.to_string().starts_with("environment.yml:2:3") && !error.to_string().contains("hidden"));
        }
        assert!(matches!(locked("https://host/t/tk-123/c"), Err(Error::ChannelSecret { .. })));
        assert!(matches!(locked("https://$HOST/c"), Err(Error::ChannelHost { .. })));
    }

    #[test]
    fn channels_are_found() {
        let urls = |channel: &str, subdirs: &[Subdir]| -> Vec<String> {
            let channels = resolved(channel, &place(), Path::new("/project/x"), subdirs).unwrap();
            channels.map(|channel| channel.base_url.to_string()).collect()
        };
        assert_eq!(urls("conda-forge", &[]), ["https://conda.anaconda.org/conda-forge/"]);
        assert_eq!(urls("conda-forge/label/rc", &[]), ["https://conda.anaconda.org/conda-forge/label/rc/"]);
        assert_eq!(urls("./local", &[]), ["file:///project/x/local/"]);
        assert_eq!(urls("https://host/t/${T}/c", &[]), ["https://host/t/$%7BT%7D/c/"]);
        let names = |subdir| {
            let last = |url: String| url.trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
            urls("defaults", &[subdir]).into_iter().map(last).collect::<Vec<_>>()
        };
        assert_eq!(names(Subdir::Linux64), ["main", "r"]);
        assert_eq!(names(Subdir::Win64), ["main", "r", "msys2"]);
    }

    #[test]
    fn folders_are_not_portable() {
        for folder in ["./local", "../x", "/srv/c", "~/c", "file:///srv/c"] {
            assert!(
                not_portable(folder, &place()).is_some_and(|why| why.starts_with("environment.yml:2:3: ")),
                "{folder}"
            );
        }
        assert_eq!(not_portable("https://host/./c", &place()), None);
        assert_eq!(not_portable("conda-forge", &place()), None);
    }
}
