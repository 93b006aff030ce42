//! References to images in registries, read without the regular expression that their grammar is published as.
//!
//! `oci_spec` compiles that expression on first use, which takes longer than all else `esker lock --check` does. So what
//! plainly is a reference is taken apart here, and only the rest is asked of `oci_spec`: rare forms, and what is wrong.

use oci_spec::distribution::{ParseError, Reference};

const DOCKER_HUB: &str = "docker.io";

/// Reads `text` as `oci_spec` does.
///
/// # Errors
/// When it is no reference.
pub fn parse(text: &str) -> Result<Reference, ParseError> {
    plain(text).map_or_else(|| text.parse(), Ok)
}

fn plain(text: &str) -> Option<Reference> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(Some(digest).filter(|digest| is_digest(digest))?.to_owned())),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, Some(Some(tag).filter(|tag| is_tag(tag))?.to_owned())),
        None => (rest, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (DOCKER_HUB, name),
    };
    // Docker's old name for itself is rewritten by `oci_spec`.
    if !is_host(host) || host == "index.docker.io" || path.len() > 200 || !path.split('/').all(is_component) {
        return None;
    }
    let official = host == DOCKER_HUB && !path.contains('/');
    let path = if official { format!("library/{path}") } else { path.to_owned() };
    let host = host.to_owned();
    Some(match (tag, digest) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(host, path, tag, digest),
        (None, Some(digest)) => Reference::with_digest(host, path, digest),
        (tag, None) => Reference::with_tag(host, path, tag.unwrap_or_else(|| "latest".to_owned())),
    })
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let allowed = text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    text.bytes().next().is_some_and(is_word) && text.len() <= 128 && allowed
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_label = |label: &str| {
        let allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && allowed && !label.starts_with('-') && !label.ends_with('-')
    };
    is_port && name.split('.').all(is_label)
}

/// Words of lower-case letters and digits with single separators between them.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.split(['.', '_', '-']).all(|word| !word.is_empty() && word.bytes().all(is_word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_references_need_no_regular_expression() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in [
            "debian",
            "debian:bookworm-slim",
            "docker.io/library/debian:bookworm-slim",
            "quay.io/pangeo/pangeo-notebook:2026.01.30",
            "localhost:5000/a/b_c-d.e",
            "localhost/a:b",
            &format!("ghcr.io/a/b@{digest}"),
            &format!("ghcr.io/a/b:c@{digest}"),
        ] {
            assert_eq!(plain(text), Some(text.parse().unwrap()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_the_grammar_says(
            text in "(([a-z]{1,2}|[.:_/@A-]|io|docker\\.io|index\\.docker\\.io|localhost|sha256:[a-f0-9]{64}|[0-9]){0,7})"
        ) {
            if let Some(reference) = plain(&text) {
                prop_assert_eq!(Ok(reference), text.parse::<Reference>());
            }
        }
    }
}
