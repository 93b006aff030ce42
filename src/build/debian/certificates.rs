//! What `update-ca-certificates` makes: one bundle of all certificates, and links by which OpenSSL finds each.
//!
//! OpenSSL looks a certificate up by a hash of its subject: the first four bytes, the lowest first, of the SHA-1 of the
//! name in a canonical form (OpenSSL's `X509_NAME_hash_ex`): text in UTF-8, in lower case, its white space collapsed.

use std::collections::BTreeMap;

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

use super::error::Error;
use super::tree::{Content, Tree};

/// Certificates of packages, relative to the root.
const SHARED: &str = "usr/share/ca-certificates";
/// Certificates that somebody added to the base.
pub const LOCAL: &str = "usr/local/share/ca-certificates";
/// Where they are used.
const USED: &str = "etc/ssl/certs";
/// The bundle.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// The list of those that are trusted: on a first installation all of them.
const LIST: &str = "etc/ca-certificates.conf";

/// Makes the bundle, the links and the list, of the certificates in the tree and those that `base` has of its own.
///
/// # Errors
/// When a certificate cannot be read.
pub fn update(base: &BTreeMap<String, Vec<u8>>, tree: &mut Tree, time: u64) -> Result<(), Error> {
    let is_certificate = |path: &str, node: &super::tree::Node| {
        path.ends_with(".crt") && matches!(node.content, Content::File(..) | Content::BaseFile)
    };
    let mut found: Vec<String> = Vec::new();
    for folder in [SHARED, LOCAL] {
        found.extend(
            tree.below(folder).filter(|(path, node)| is_certificate(path, node)).map(|(path, _)| path.to_owned()),
        );
    }
    let mut bundle = Vec::new();
    let mut hashes: BTreeMap<String, usize> = BTreeMap::new();
    for path in &found {
        let bytes = tree.added_bytes(path)?.or_else(|| base.get(path).cloned());
        let bytes = bytes.ok_or_else(|| Error::Base { reason: format!("`/{path}` cannot be read") })?;
        bundle.extend_from_slice(&bytes);
        if !bytes.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        let name = pem_name(path);
        tree.link(&format!("{USED}/{name}"), &format!("/{path}"), time);
        if let Some(hash) = subject_hash(&bytes) {
            let number = hashes.entry(hash.clone()).or_default();
            tree.link(&format!("{USED}/{hash}.{number}"), &name, time);
            *number += 1;
        }
    }
    tree.write(BUNDLE, &bundle, 0o644, time)?;
    let listed: String = found
        .iter()
        .filter_map(|path| path.strip_prefix(SHARED))
        .map(|path| format!("{}\n", path.trim_start_matches('/')))
        .collect();
    tree.write(LIST, listed.as_bytes(), 0o644, time)
}

/// The name of the link to the certificate at `path`: without what shells would stumble over.
fn pem_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".crt");
    let plain = name.chars().map(|c| match c {
        ' ' | ',' => '_',
        '(' | ')' => '=',
        other => other,
    });
    format!("{}.pem", plain.collect::<String>())
}

/// OpenSSL's hash of the subject of the first certificate in `pem`; `None` if there is none.
fn subject_hash(pem: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, body) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = body.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    let digest = Sha1::digest(canonical_name(subject(&der)?)?);
    let bytes: [u8; 4] = digest.get(..4)?.try_into().ok()?;
    Some(format!("{:08x}", u32::from_le_bytes(bytes)))
}

/// One element of DER: its tag, its content, and what follows (X.690, 8.1).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// The content of the subject of a certificate (RFC 5280, 4.1).
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // The version is there or not.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    // Serial number, signature, issuer, validity.
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (tag, content, _) = element(rest)?;
    (tag == 0x30).then_some(content)
}

/// The sets of a name, each with its texts in canonical form.
fn canonical_name(mut name: &[u8]) -> Option<Vec<u8>> {
    let mut canonical = Vec::new();
    while !name.is_empty() {
        let (tag, mut set, after) = element(name)?;
        name = after;
        let mut members = Vec::new();
        while !set.is_empty() {
            let (_, pair, after) = element(set)?;
            set = after;
            let (oid_tag, oid, value) = element(pair)?;
            let (value_tag, value, _) = element(value)?;
            let mut member = der(oid_tag, oid);
            member.extend(canonical_value(value_tag, value)?);
            members.push(der(0x30, &member));
        }
        // DER sorts the members of a set.
        members.sort();
        canonical.extend(der(tag, &members.concat()));
    }
    Some(canonical)
}

fn canonical_value(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    const UTF8: u8 = 12;
    let text = match tag {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString
        UTF8 | 18 | 19 | 22 | 26 => std::str::from_utf8(value).ok()?.to_owned(),
        // T61String, taken for Latin-1
        20 => value.iter().map(|&byte| char::from(byte)).collect(),
        // UniversalString, BMPString
        28 => value.chunks(4).map(|c| char::from_u32(u32::from_be_bytes(c.try_into().ok()?))).collect::<Option<_>>()?,
        30 => {
            let units =
                value.chunks(2).map(|c| Some(u16::from_be_bytes(c.try_into().ok()?))).collect::<Option<Vec<_>>>()?;
            String::from_utf16(&units).ok()?
        }
        _ => return Some(der(tag, value)),
    };
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    let words: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    Some(der(UTF8, words.join(" ").to_ascii_lowercase().as_bytes()))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|&byte| byte != 0).unwrap_or(length.len() - 1)..];
    match length {
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::tree::tests::tree;
    use super::*;
    use crate::skip::skipped;

    /// A certificate of `subject`, made by openssl; `None` where that is not installed.
    fn certificate(subject: &str) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.crt");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-utf8", "-multivalue-rdn", "-keyout", "/dev/null"])
            .args(["-days", "1", "-subj", subject, "-out"])
            .arg(&out)
            .stderr(Stdio::null())
            .status();
        match made {
            Ok(status) if status.success() => Some(fs_err::read(out).unwrap()),
            Ok(status) => panic!("openssl: {status}"),
            Err(_) => None,
        }
    }

    #[test]
    fn subjects_hash_as_openssl_hashes_them() {
        for subject in ["/C=DE/O=Test  Org /CN=Ä Root CA", "/CN=a", "/O=B+OU=A/CN=Two In One"] {
            let Some(pem) = certificate(subject) else {
                return skipped("openssl, the judge of this test, is not installed");
            };
            let mut openssl = Command::new("openssl");
            let mut child =
                openssl.args(["x509", "-noout", "-hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), &pem).unwrap();
            let output = child.wait_with_output().unwrap();
            let expected = String::from_utf8(output.stdout).unwrap();
            assert_eq!(subject_hash(&pem).as_deref(), Some(expected.trim()), "{subject}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        let body = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        for text in ["", "x", &body("!"), &body("MAA="), &body("MIT/////"), &body("MIAwgA==")] {
            assert_eq!(subject_hash(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn bundle_links_and_list_are_made() {
        let mut tree = tree(&["usr/local/share/ca-certificates/own.crt", "etc/ssl/certs/"]);
        tree.write("usr/share/ca-certificates/mozilla/B (x).crt", b"two", 0o644, 1).unwrap();
        tree.write("usr/share/ca-certificates/mozilla/A.crt", b"one\n", 0o644, 1).unwrap();
        let base = [("usr/local/share/ca-certificates/own.crt".to_owned(), b"own\n".to_vec())].into();
        update(&base, &mut tree, 5).unwrap();
        assert_eq!(tree.added_bytes(BUNDLE).unwrap().unwrap(), b"one\ntwo\nown\n");
        assert_eq!(tree.added_bytes(LIST).unwrap().unwrap(), b"mozilla/A.crt\nmozilla/B (x).crt\n");
        let target = Content::Symlink("/usr/share/ca-certificates/mozilla/B (x).crt".into());
        assert_eq!(tree.get("etc/ssl/certs/B_=x=.pem").unwrap().content, target);
    }
}
