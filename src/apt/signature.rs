//! Signatures of `InRelease` files, checked by the program `gpgv`, as apt has it done.
//!
//! gpgv checks against the keys it is given and no others, and writes out what was signed: only that is read on. The
//! crates that could do it bring more code than all of this module's neighbours.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;

use super::error::Error;

/// Public keys, as a file of a base or of the machine holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// The file.
    pub name: String,
    /// What it holds, in OpenPGP's binary or ASCII form.
    pub bytes: Vec<u8>,
}

/// Where keys of archives are kept on Debian systems, relative to the root.
pub fn is_keyring(path: &str) -> bool {
    let trusted = path.strip_prefix("etc/apt/trusted.gpg.d/").is_some_and(|name| !name.contains('/'));
    let has_keys = [".gpg", ".asc", ".pgp"].iter().any(|end| path.ends_with(end));
    (trusted && has_keys) || KEYRINGS.contains(&path)
}

/// Of all files of this folder, only these hold keys of Debian's archive that are in use.
pub const KEYRINGS: [&str; 2] =
    ["usr/share/keyrings/debian-archive-keyring.gpg", "usr/share/keyrings/debian-archive-keyring.pgp"];

/// The text of `signed` (an `InRelease` from `url`), if one of the keys in `keyrings` signed it and no signature is bad.
///
/// # Errors
/// [`Error::Gpgv`] when the program cannot be run, [`Error::Signature`] when nobody known signed it.
pub fn verified(gpgv: &Path, signed: &[u8], url: &str, keyrings: &[Keyring]) -> Result<String, Error> {
    let failed = |source| Error::Gpgv { program: gpgv.to_owned(), source };
    let folder = tempfile::tempdir().map_err(failed)?;
    let input = folder.path().join("InRelease");
    fs_err::write(&input, signed).map_err(failed)?;
    let output = folder.path().join("Release");
    let mut command = Command::new(gpgv);
    command.arg("--homedir").arg(folder.path()).args(["--status-fd", "1", "--output"]).arg(&output);
    for (number, keyring) in keyrings.iter().enumerate() {
        let path: PathBuf = folder.path().join(format!("{number}.gpg"));
        fs_err::write(&path, binary(&keyring.bytes)).map_err(failed)?;
        command.arg("--keyring").arg(path);
    }
    let ran = command.arg(&input).env("LC_ALL", "C").output().map_err(failed)?;
    let status = String::from_utf8_lossy(&ran.stdout);
    let unsigned = |reason: String| Error::Signature { url: url.to_owned(), reason };
    verdict(&status).map_err(unsigned)?;
    let text = fs_err::read(&output).map_err(|_| unsigned("gpgv wrote out nothing that is signed".to_owned()))?;
    String::from_utf8(text).map_err(|_| unsigned("what is signed is no text".to_owned()))
}

/// What gpgv's status lines (GnuPG's doc/DETAILS) come to. One good signature is enough: releases are signed with
/// several keys, of which older systems know some.
fn verdict(status: &str) -> Result<(), String> {
    let lines = || status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] "));
    let words = |line: &str| {
        let mut words = line.split(' ');
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
    };
    if let Some((_, key)) = lines().map(words).find(|(word, _)| word == "BADSIG") {
        return Err(format!("the signature of key {key} does not fit the content"));
    }
    if lines().map(words).any(|(word, _)| word == "GOODSIG") {
        return Ok(());
    }
    let of = |kind: &str| lines().map(words).filter(|(word, _)| word == kind).map(|(_, key)| key).collect::<Vec<_>>();
    for (kind, what) in
        [("EXPKEYSIG", "is of an expired key"), ("REVKEYSIG", "is of a revoked key"), ("EXPSIG", "has expired")]
    {
        if let Some(key) = of(kind).first() {
            return Err(format!("its signature {what}, {key}"));
        }
    }
    match &of("NO_PUBKEY")[..] {
        [] => Err("it has no signature".to_owned()),
        keys => Err(format!("none of the keys that signed it is known: {}", keys.join(", "))),
    }
}

/// `keyring` as gpgv wants it: OpenPGP's ASCII form (RFC 9580, section 6) undone.
fn binary(keyring: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(keyring) else { return keyring.to_vec() };
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    let mut in_header = false;
    for line in text.lines().map(str::trim_end) {
        match (&mut block, line) {
            (_, line) if line.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") => {
                (block, in_header) = (Some(String::new()), true);
            }
            (Some(body), line) if line.starts_with("-----END") || line.starts_with('=') => {
                // A block that is damaged holds no key.
                blocks.extend(base64::engine::general_purpose::STANDARD.decode(&*body).unwrap_or_default());
                block = None;
            }
            (Some(_), "") => in_header = false,
            (Some(body), line) if !in_header => body.push_str(line),
            _ => {}
        }
    }
    if blocks.is_empty() { keyring.to_vec() } else { blocks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_signature_outweighs_a_good_one() {
        let good = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG AB Debian\n[GNUPG:] VALIDSIG AB 2026\n";
        let unknown = "[GNUPG:] ERRSIG CD 1 8 01 1 9 -\n[GNUPG:] NO_PUBKEY CD\n";
        assert_eq!(verdict(good), Ok(()));
        assert_eq!(verdict(&format!("{unknown}{good}")), Ok(()));
        assert!(verdict(&format!("{good}[GNUPG:] BADSIG EF Debian\n")).unwrap_err().contains("EF"));
        assert!(verdict(unknown).unwrap_err().contains("CD"));
        assert!(verdict("[GNUPG:] EXPKEYSIG AB Debian\n[GNUPG:] VALIDSIG AB 2026\n").unwrap_err().contains("expired"));
        assert!(verdict("").is_err() && verdict("[GNUPG:] NODATA 1\n").is_err());
        assert!(verdict("gpgv: [GNUPG:] GOODSIG AB\n").is_err(), "only gpgv's own lines count");
    }

    #[test]
    fn armoured_keys_are_undone() {
        let armoured = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\nAAEC\nAw==\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(binary(armoured), [0, 1, 2, 3]);
        assert_eq!(binary(&[armoured.as_slice(), armoured].concat()), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(binary(&[0x99, 0xff, 1]), [0x99, 0xff, 1]);
    }

    #[test]
    fn only_keys_in_use_are_taken() {
        for (path, expected) in [
            ("etc/apt/trusted.gpg.d/a.asc", true),
            ("etc/apt/trusted.gpg.d/a.gpg", true),
            ("etc/apt/trusted.gpg.d/sub/a.gpg", false),
            ("etc/apt/trusted.gpg.d/a.txt", false),
            ("usr/share/keyrings/debian-archive-keyring.gpg", true),
            ("usr/share/keyrings/debian-archive-removed-keys.gpg", false),
        ] {
            assert_eq!(is_keyring(path), expected, "{path}");
        }
    }
}
