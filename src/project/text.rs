//! Reads the text of a user's file.

use std::io::Read;
use std::path::Path;

use super::{Error, Place};

/// More than any environment a person wrote: reading stops there, so that a device or a data file named by mistake
/// costs no memory.
const LIMIT: u64 = 4 << 20;

/// Reads `path`, which must be UTF-8; a byte order mark is dropped.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let bytes = read_bytes(path)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (valid, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        Error::NotUtf8 { place: end_of(path, &String::from_utf8_lossy(valid)) }
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The place just behind `text`, the beginning of `path`.
fn end_of(path: &Path, text: &str) -> Place {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place { file: path.to_owned(), line: text.matches('\n').count() + 1, column: last.chars().count() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("environment.yml");
        std::fs::write(&path, b"\xef\xbb\xbfname: a").unwrap();
        assert_eq!(read(&path).unwrap(), "name: a");

        std::fs::write(&path, b"a: b\nc: \xc3\xa9\xff").unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}:2:5: not UTF-8; save the file in that encoding", path.display()));
        assert!(matches!(read(&folder.path().join("none")), Err(Error::Read { .. })));
    }

    #[test]
    fn endless_files_are_refused() {
        assert!(matches!(read(Path::new("/dev/zero")), Err(Error::TooLarge { .. })));
    }
}
