//! `/etc/ld.so.cache`: the shared libraries of the system by their names, as `ldconfig` lists them (ldconfig(8), ld.so(8)).
//!
//! The file has a header, an entry for each library, sorted, and their names and paths, of which those that end like
//! others are parts of those.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::error::Error;
use super::tree::{Content, Tree};

/// The file, relative to the root.
const FILE: &str = "etc/ld.so.cache";
/// Where packages say which folders have libraries.
const SETTINGS: &str = "etc/ld.so.conf.d";
/// Folders that have libraries anyway.
const DEFAULT: [&str; 2] = ["/lib", "/usr/lib"];
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Bytes of the header and of an entry.
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// A library for the C library that all have.
const LIBC6: u32 = 3;
/// Larger than any library of a base system, in bytes.
const MAX_LIBRARY: u64 = 1 << 28;

/// One library: its name, where it is, what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Library {
    name: String,
    path: String,
    flags: u32,
}

/// Writes the file.
///
/// # Errors
/// When the temporary file cannot be read or written.
pub fn update(tree: &mut Tree, time: u64) -> Result<(), Error> {
    let mut libraries = Vec::new();
    let mut seen = BTreeSet::new();
    for folder in folders(tree)? {
        let Ok(place) = tree.directory(&folder) else { continue };
        if seen.insert(place.clone()) {
            libraries.extend(in_folder(tree, &folder, &place)?);
        }
    }
    libraries.sort_by(|a, b| compare(b.name.as_bytes(), a.name.as_bytes()));
    tree.write(FILE, &text(&libraries), 0o644, time)
}

/// The folders that are looked into, in order.
fn folders(tree: &mut Tree) -> Result<Vec<String>, Error> {
    let files: Vec<String> = tree.below(SETTINGS).map(|(path, _)| path.to_owned()).collect();
    let mut folders = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".conf")) {
        let Some(bytes) = tree.added_bytes(file)? else { continue };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        folders.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned));
    }
    folders.extend(DEFAULT.map(str::to_owned));
    Ok(folders)
}

/// The libraries in `folder`, which is at `place`: those that are there under their own names.
fn in_folder(tree: &mut Tree, folder: &str, place: &str) -> Result<Vec<Library>, Error> {
    let is_library = |name: &str| (name.starts_with("lib") || name.starts_with("ld-")) && name.contains(".so");
    let start = place.len() + 1;
    let names = tree.below(place).map(|(path, _)| path[start..].to_owned());
    let names: Vec<String> = names.filter(|name| !name.contains('/') && is_library(name)).collect();
    let mut libraries: BTreeMap<String, Library> = BTreeMap::new();
    for name in names {
        let Ok(file) = tree.directory(&format!("{place}/{name}")) else { continue };
        let is_small =
            matches!(tree.get(&file).map(|node| &node.content), Some(Content::File(_, size)) if *size < MAX_LIBRARY);
        let Some(bytes) = (if is_small { tree.added_bytes(&file)? } else { None }) else { continue };
        let Some((flags, own)) = shared_library(&bytes) else { continue };
        let own = own.unwrap_or_else(|| name.clone());
        if tree.follow(&format!("{place}/{own}")).is_some() {
            let path = format!("{folder}/{own}");
            libraries.insert(own.clone(), Library { name: own, path, flags });
        }
    }
    Ok(libraries.into_values().collect())
}

/// What the shared library in `bytes` is for, and its name if it says one (System V ABI, "Dynamic Linking"); `None` if it
/// is no library for a platform.
fn shared_library(bytes: &[u8]) -> Option<(u32, Option<String>)> {
    let is_elf64 = bytes.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
    let flags = match short(bytes, 18).filter(|_| is_elf64 && short(bytes, 16) == Some(3))? {
        21 => 0x0500,
        62 => 0x0300,
        183 => 0x0a00,
        _ => return None,
    };
    let (table, size, count) = (long(bytes, 32)?, usize::from(short(bytes, 54)?), short(bytes, 56)?);
    let headers = (0..usize::from(count)).filter_map(|index| {
        let at = table.checked_add(index.checked_mul(size)?)?;
        Some((word(bytes, at)?, long(bytes, at + 8)?, long(bytes, at + 16)?, long(bytes, at + 32)?))
    });
    let headers: Vec<(u32, usize, usize, usize)> = headers.collect();
    let (_, dynamic, _, length) = *headers.iter().find(|(kind, ..)| *kind == 2)?;
    let entries = (0..length / 16).map_while(|index| {
        let at = dynamic.checked_add(index * 16)?;
        Some((long(bytes, at)?, long(bytes, at + 8)?)).filter(|(tag, _)| *tag != 0)
    });
    let entries: BTreeMap<usize, usize> = entries.collect();
    let name = entries.get(&14).and_then(|name| {
        let address = *entries.get(&5)?;
        let is_in = |(kind, _, start, size): &&(u32, usize, usize, usize)| {
            *kind == 1 && address.checked_sub(*start).is_some_and(|offset| offset < *size)
        };
        let (_, offset, start, _) = headers.iter().find(is_in)?;
        let start = offset.checked_add(address - start)?.checked_add(*name)?;
        let name = bytes.get(start..)?.split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(name).ok()?;
        Some(name.to_owned()).filter(|name| !name.is_empty() && !name.contains('/'))
    });
    Some((flags | LIBC6, name))
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(bytes_at(bytes, at).map(u64::from_le_bytes)?).ok()
}

/// The order of names in the file, turned round: numbers in them by their values, and before what is none.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let (first, second) = (a.first().copied(), b.first().copied());
        let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
        match (is_digit(first), is_digit(second)) {
            (true, true) => {
                let order = number(&mut a).cmp(&number(&mut b));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (false, true) => return Ordering::Less,
            (true, false) => return Ordering::Greater,
            (false, false) if first != second || first.is_none() => return first.cmp(&second),
            (false, false) => (a, b) = (&a[1..], &b[1..]),
        }
    }
}

/// Takes the number off that `text` begins with.
fn number(text: &mut &[u8]) -> u64 {
    let mut value: u64 = 0;
    while let Some((digit, rest)) = text.split_first().filter(|(digit, _)| digit.is_ascii_digit()) {
        value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        *text = rest;
    }
    value
}

/// The file's content.
fn text(libraries: &[Library]) -> Vec<u8> {
    let all: BTreeSet<&str> = libraries.iter().flat_map(|library| [&*library.name, &*library.path]).collect();
    // By their ends, the last first and the longer before: what another ends with follows it.
    let mut all: Vec<&str> = all.into_iter().collect();
    all.sort_by(|a, b| {
        let pairs = a.bytes().rev().zip(b.bytes().rev()).find(|(a, b)| a != b);
        pairs.map_or_else(|| b.len().cmp(&a.len()), |(a, b)| b.cmp(&a))
    });
    let base = HEADER + libraries.len() * ENTRY;
    let (mut strings, mut offsets) = (Vec::new(), BTreeMap::new());
    let mut before: &str = "";
    for string in all {
        if !before.ends_with(string) {
            strings.extend_from_slice(string.as_bytes());
            strings.push(0);
        }
        offsets.insert(string, base + strings.len() - string.len() - 1);
        before = string;
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut text = MAGIC.to_vec();
    text.extend(count(libraries.len()));
    text.extend(count(strings.len()));
    // Little-endian.
    text.push(2);
    text.resize(HEADER, 0);
    for library in libraries {
        text.extend(library.flags.to_le_bytes());
        text.extend([&library.name, &library.path].map(|text| count(offsets[text.as_str()])).concat());
        text.resize(text.len() + 12, 0);
    }
    text.extend(strings);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str) -> Library {
        Library { name: name.to_owned(), path: format!("/lib/{name}"), flags: 0x0303 }
    }

    #[test]
    fn names_are_sorted_as_the_loader_searches_them() {
        let mut names = ["libz.so.1", "libc.so.6", "libc.so.10", "libc.so", "ld-linux.so.2", "libcap.so.2", "lib2.so"];
        names.sort_by(|a, b| compare(b.as_bytes(), a.as_bytes()));
        let sorted = ["lib2.so", "libz.so.1", "libcap.so.2", "libc.so.10", "libc.so.6", "libc.so", "ld-linux.so.2"];
        assert_eq!(names, sorted);
    }

    #[test]
    fn names_are_parts_of_paths() {
        let text = text(&[library("libz.so.1"), library("libc.so.6")]);
        let end = HEADER + 2 * ENTRY;
        assert_eq!(&text[end..], b"/lib/libc.so.6\0/lib/libz.so.1\0");
        let at = |position: usize| word(&text, position).map(|offset| offset as usize).unwrap();
        assert_eq!((at(20), at(24), text[28]), (2, 30, 2));
        assert_eq!((at(HEADER), at(HEADER + 4), at(HEADER + 8)), (0x0303, end + 20, end + 15));
        assert_eq!((at(HEADER + ENTRY + 4), at(HEADER + ENTRY + 8)), (end + 5, end));
    }

    #[test]
    fn what_is_no_library_is_none_whatever_is_in_it() {
        let Ok(own) = std::fs::read("/proc/self/exe") else { return };
        assert!(shared_library(&own).is_none_or(|(flags, _)| flags & LIBC6 == LIBC6));
        let mut cut = own[..4096.min(own.len())].to_vec();
        for end in 0..cut.len() {
            drop(shared_library(&cut[..end]));
        }
        for at in 16..1024 {
            for value in [0, 0x7f, 0xff] {
                let before = std::mem::replace(&mut cut[at], value);
                drop(shared_library(&cut));
                cut[at] = before;
            }
        }
    }
}
