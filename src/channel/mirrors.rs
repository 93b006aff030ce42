//! Where bytes come from instead of where they say they come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use url::Url;

use super::transport::ATTEMPTS;
use super::variables::{as_folder, without_user};
use crate::project::Mirror;

/// Requests for one answer while there is another place to ask, at most.
const ATTEMPTS_OF_MANY: u32 = 2;

/// Mirrors, the longest prefix first.
#[derive(Clone, Debug)]
pub(super) struct Mirrors(Arc<Vec<Prefix>>);

/// A prefix, and where what is below it can be had, in the order it is tried.
#[derive(Debug)]
struct Prefix {
    from: String,
    to: Vec<Arc<Source>>,
}

#[derive(Debug)]
struct Source {
    url: Url,
    /// It could not be reached before: the others go first from then on.
    is_down: AtomicBool,
}

/// One place that a URL can be fetched from.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The whole URL there, with variables in it.
    pub url: Url,
    /// How often to ask before the next place is tried.
    pub attempts: u32,
    source: Option<Arc<Source>>,
}

impl Mirrors {
    pub fn new(mirrors: &[Mirror]) -> Self {
        let mut prefixes: Vec<Prefix> = Vec::new();
        for mirror in mirrors {
            let from = as_folder(without_user(&mirror.from)).to_string();
            let source = Source { url: as_folder(mirror.to.clone()), is_down: AtomicBool::new(false) };
            match prefixes.iter_mut().find(|prefix| prefix.from == from) {
                Some(prefix) => prefix.to.push(Arc::new(source)),
                None => prefixes.push(Prefix { from, to: vec![Arc::new(source)] }),
            }
        }
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.from.len()));
        Self(Arc::new(prefixes))
    }

    /// Where to fetch `url` from, at least one place: the mirrors of its longest prefix, else `url` itself.
    pub fn targets(&self, url: &Url) -> Vec<Target> {
        let canonical = without_user(url);
        let prefix = self.0.iter().find_map(|prefix| Some((prefix, canonical.as_str().strip_prefix(&prefix.from)?)));
        let Some((prefix, rest)) = prefix else { return vec![Target::canonical(canonical)] };
        let target = |source: &Arc<Source>| {
            let url = Url::parse(&format!("{}{rest}", source.url)).ok()?;
            Some(Target { url, attempts: ATTEMPTS_OF_MANY, source: Some(Arc::clone(source)) })
        };
        let mut targets: Vec<Target> = prefix.to.iter().filter_map(target).collect();
        targets.sort_by_key(Target::is_down);
        match targets.last_mut() {
            Some(last) => last.attempts = ATTEMPTS,
            None => targets.push(Target::canonical(canonical)),
        }
        targets
    }

    /// The first of the places to fetch `url` from, as it may be shown.
    pub fn shown(&self, url: &Url) -> Url {
        self.targets(url).first().map_or_else(|| without_secrets(url), Target::shown)
    }

    /// Prefixes of which something is on disk.
    pub fn local_prefixes(&self) -> impl Iterator<Item = Url> {
        let is_local = |prefix: &&Prefix| prefix.to.iter().any(|source| source.url.scheme() == "file");
        self.0.iter().filter(is_local).filter_map(|prefix| Url::parse(&prefix.from).ok())
    }

    /// Distinguishes sets of mirrors: caches are keyed by canonical URL, and what one mirror said is not to be taken for
    /// what another says. Empty without mirrors.
    pub fn fingerprint(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let pairs = self.0.iter().flat_map(|prefix| prefix.to.iter().map(move |source| (&prefix.from, &source.url)));
        let text: String = pairs.map(|(from, to)| format!("{from} {to}\n")).collect();
        crate::oci::Digest::of(text.as_bytes()).hex()[..16].to_owned()
    }
}

impl Target {
    fn canonical(url: Url) -> Self {
        Self { url, attempts: ATTEMPTS, source: None }
    }

    /// Its URL as it may be shown.
    pub fn shown(&self) -> Url {
        without_secrets(&self.url)
    }

    /// Whether it is the canonical place, to which the channel's own user and password belong.
    pub fn is_canonical(&self, canonical: &Url) -> bool {
        without_user(&self.url) == without_user(canonical)
    }

    /// From now on the other mirrors of its prefix go first.
    pub fn mark_down(&self) {
        if let Some(source) = &self.source {
            source.is_down.store(true, Ordering::Relaxed);
        }
    }

    fn is_down(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_down.load(Ordering::Relaxed))
    }
}

/// `url` as it may be shown or put into an image: without a user's name, a password or a conda token (`/t/TOKEN/`).
pub fn without_secrets(url: &Url) -> Url {
    let mut url = without_user(url);
    if let Some((before, after)) = url.path().split_once("/t/")
        && let Some((_, rest)) = after.split_once('/')
    {
        let path = format!("{before}/{rest}");
        url.set_path(&path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(pairs: &[(&str, &str)]) -> Mirrors {
        let mirror = |(from, to): &(&str, &str)| Mirror { from: from.parse().unwrap(), to: to.parse().unwrap() };
        Mirrors::new(&pairs.iter().map(mirror).collect::<Vec<_>>())
    }

    fn targets(mirrors: &Mirrors, url: &str) -> Vec<String> {
        mirrors.targets(&url.parse().unwrap()).iter().map(|target| target.url.to_string()).collect()
    }

    #[test]
    fn the_longest_whole_prefix_is_rewritten() {
        let mirrors = mirrors(&[
            ("https://conda.anaconda.org", "https://all.example/"),
            ("https://conda.anaconda.org/conda-forge/", "file:///srv/cf"),
        ]);
        let first = |url: &str| targets(&mirrors, url);
        assert_eq!(first("https://conda.anaconda.org/conda-forge/noarch/a.conda"), ["file:///srv/cf/noarch/a.conda"]);
        assert_eq!(first("https://conda.anaconda.org/conda-forge-x/a"), ["https://all.example/conda-forge-x/a"]);
        assert_eq!(first("https://elsewhere.example/a"), ["https://elsewhere.example/a"]);
    }

    #[test]
    fn mirrors_of_one_prefix_keep_their_order_until_one_is_down() {
        let mirrors =
            mirrors(&[("https://a/", "http://one/"), ("https://a", "http://two"), ("https://a/", "https://a/")]);
        assert_eq!(targets(&mirrors, "https://a/x"), ["http://one/x", "http://two/x", "https://a/x"]);
        mirrors.targets(&"https://a/y".parse().unwrap())[0].mark_down();
        assert_eq!(targets(&mirrors, "https://a/x"), ["http://two/x", "https://a/x", "http://one/x"]);
        let attempts = |target: &Target| target.attempts;
        let asked: Vec<u32> = mirrors.targets(&"https://a/x".parse().unwrap()).iter().map(attempts).collect();
        assert_eq!(asked, [ATTEMPTS_OF_MANY, ATTEMPTS_OF_MANY, ATTEMPTS]);
    }
}
