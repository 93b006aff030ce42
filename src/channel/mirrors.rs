//! Where bytes come from instead of where they say they come from.

use std::sync::Arc;

use url::Url;

use crate::project::Mirror;

/// Mirrors, the longest prefix first.
#[derive(Clone, Debug)]
pub(super) struct Mirrors(Arc<Vec<(String, Url)>>);

impl Mirrors {
    pub fn new(mirrors: &[Mirror]) -> Self {
        let mut pairs: Vec<_> =
            mirrors.iter().map(|mirror| (folder(&mirror.from).to_string(), folder(&mirror.to))).collect();
        // A stable sort: among equal prefixes the first one written wins.
        pairs.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Self(Arc::new(pairs))
    }

    /// Where to fetch `url` from: `url` itself without a mirror for it.
    pub fn rewrite(&self, url: &Url) -> Url {
        let below = |(from, to): &(String, Url)| {
            let rest = url.as_str().strip_prefix(from.as_str())?;
            Url::parse(&format!("{to}{rest}")).ok()
        };
        self.0.iter().find_map(below).unwrap_or_else(|| url.clone())
    }

    /// Prefixes that are fetched from disk.
    pub fn local_prefixes(&self) -> impl Iterator<Item = Url> {
        self.0.iter().filter(|(_, to)| to.scheme() == "file").filter_map(|(from, _)| Url::parse(from).ok())
    }

    /// Distinguishes sets of mirrors: caches are keyed by canonical URL, and what one mirror said is not to be taken for
    /// what another says. Empty without mirrors.
    pub fn fingerprint(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let text: String = self.0.iter().map(|(from, to)| format!("{from} {to}\n")).collect();
        crate::oci::Digest::of(text.as_bytes()).hex()[..16].to_owned()
    }
}

/// `url` as it may be shown: without a user's name, a password or a conda token (`/t/TOKEN/`).
pub(super) fn without_secrets(mut url: Url) -> Url {
    // Neither setter fails on a URL with a host, and one without a host has no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if let Some((before, after)) = url.path().split_once("/t/")
        && let Some((_, rest)) = after.split_once('/')
    {
        let path = format!("{before}/{rest}");
        url.set_path(&path);
    }
    url
}

/// `url` with a slash at its end, so that `…/conda-forge` is no prefix of `…/conda-forge-extra/…`.
fn folder(url: &Url) -> Url {
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(from: &str, to: &str) -> Mirror {
        Mirror { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    #[test]
    fn the_longest_whole_prefix_is_rewritten() {
        let mirrors = Mirrors::new(&[
            mirror("https://conda.anaconda.org", "https://all.example/"),
            mirror("https://conda.anaconda.org/conda-forge/", "file:///srv/cf"),
        ]);
        let rewrite = |url: &str| mirrors.rewrite(&url.parse().unwrap()).to_string();
        assert_eq!(rewrite("https://conda.anaconda.org/conda-forge/noarch/a.conda"), "file:///srv/cf/noarch/a.conda");
        assert_eq!(rewrite("https://conda.anaconda.org/conda-forge-x/a"), "https://all.example/conda-forge-x/a");
        assert_eq!(rewrite("https://elsewhere.example/a"), "https://elsewhere.example/a");
    }
}
