//! What fuzzing found interesting, given to every parser. Errors that do not say where they are count as failures, too.

#[path = "../../fuzz/parsers.rs"]
mod parsers;

use std::path::Path;

/// So that the files stay few and small.
const MOST_BYTES: u64 = 200_000;

#[test]
fn no_parser_panics_on_any_of_it() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut files, mut bytes) = (Vec::new(), 0);
    for (name, _) in parsers::ALL {
        let before = files.len();
        for entry in fs_err::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let content = fs_err::read(&path).unwrap();
            bytes += content.len() as u64;
            files.push((name, path, content));
        }
        assert!(files.len() > before, "nothing for `{name}`");
    }
    assert!(bytes < MOST_BYTES, "{bytes} bytes are too many to keep");
    for (owner, path, content) in &files {
        for (name, parse) in parsers::ALL {
            // These make a client or solve: what is not meant for them only shows that they refuse it.
            if ["netrc", "repodata"].contains(&name) && name != *owner {
                continue;
            }
            let result = std::panic::catch_unwind(|| parse(content));
            assert!(result.is_ok(), "`{name}` fails on {}", path.display());
        }
    }
}
