//! Finds what git leaves in a lock that two branches changed.

use std::path::Path;

use super::Error;
use crate::project::Place;

/// The lines between which git puts both sides.
const MARKERS: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];

/// Refuses `text` with a merge-conflict marker in it.
///
/// Halves of two locks may well parse, as a lock that nobody ever solved.
///
/// # Errors
/// [`Error::ConflictMarker`] with the first line that is one.
pub(super) fn refuse_markers(path: &Path, text: &str) -> Result<(), Error> {
    let is_marker = |line: &str| {
        let rest = MARKERS.iter().find_map(|marker| line.strip_prefix(marker));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r']))
    };
    match text.split('\n').position(is_marker) {
        Some(index) => {
            let place = Place { file: path.to_path_buf(), line: index + 1, column: 1 };
            Err(Error::ConflictMarker { place })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_marker_is_found_and_nothing_else() {
        for marker in ["<<<<<<< HEAD", "||||||| 1234567", "=======", "=======\r", ">>>>>>> other"] {
            let error = refuse_markers(Path::new("x"), &format!("a\n{marker}\nb\n")).unwrap_err();
            assert!(error.to_string().starts_with("x:2:1: a merge conflict"), "{error}");
        }
        for line in ["========", "  =======", "# <<<<<<< HEAD", "<<<<<<"] {
            refuse_markers(Path::new("x"), &format!("a\n{line}\nb\n")).unwrap();
        }
    }
}
