use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

use super::*;

fn open(files: &[(&str, &str)], limits: Limits) -> Result<Wheel, Error> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        zip.start_file(*path, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-1-py3-none-any.whl");
    std::fs::write(&path, bytes).unwrap();
    Wheel::read(path, "a-1-py3-none-any.whl", limits)
}

const METADATA: (&str, &str) = ("a-1.dist-info/METADATA", "Name: a\nVersion: 1\n\nName: not this\n");
const WHEEL: (&str, &str) = ("a-1.dist-info/WHEEL", "Wheel-Version: 1.9\n");

#[test]
fn files_that_every_wheel_has() {
    let record = ("a-1.dist-info/RECORD", "");
    let without = |left_out: &str| {
        let files: Vec<_> =
            [METADATA, WHEEL, record].into_iter().filter(|(path, _)| !path.ends_with(left_out)).collect();
        open(&files, Limits::default()).unwrap_err()
    };
    for file in ["METADATA", "WHEEL", "RECORD"] {
        let error = without(file);
        assert!(matches!(&error, Error::Metadata { file: named, .. } if *named == file), "{error}");
    }
    let two = [METADATA, WHEEL, record, ("b-1.dist-info/METADATA", "Name: b\n")];
    assert!(matches!(open(&two, Limits::default()), Err(Error::Metadata { file: "METADATA", .. })));
}

#[test]
fn what_is_listed_must_be_there() {
    let record = ("a-1.dist-info/RECORD", "gone.py,sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\n");
    let listed: String = [METADATA, WHEEL]
        .iter()
        .map(|(path, _)| format!("{path},sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\n"))
        .chain([record.1.to_owned()])
        .collect();
    let error = open(&[METADATA, WHEEL, (record.0, &listed)], Limits::default()).unwrap_err();
    assert!(matches!(&error, Error::Missing { path, .. } if path == "gone.py"), "{error}");
}

#[test]
fn more_than_the_limits_is_refused_unread() {
    for limits in [Limits { members: 2, ..Limits::default() }, Limits { free: 10, ratio: 0, members: 9 }] {
        let error = open(&[METADATA, WHEEL, ("a-1.dist-info/RECORD", "")], limits).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn times_are_bounded() {
    let time = |year, month, day| zip::DateTime::from_date_and_time(year, month, day, 0, 0, 0).ok().and_then(seconds);
    assert_eq!(time(1980, 1, 1), Some(EARLIEST));
    assert_eq!(time(2024, 1, 1), Some(1_704_067_200));
    assert_eq!(time(2107, 12, 31), Some(u32::MAX.into()));
}

#[test]
fn names_are_compared_normalised() {
    assert_eq!(plain("Py_Tool.more--x"), "py-tool-more-x");
}
