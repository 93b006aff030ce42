//! Reads files of other revisions, through the program `git`.
//!
//! git's own program knows every form of repository there is: worktrees, partial clones, other hashes. One
//! `cat-file --batch` answers for any number of files, so that a hundred tags cost one process.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A git repository, seen from one folder of it.
#[derive(Clone, Debug)]
pub struct Repository {
    folder: PathBuf,
    /// The way from the repository's top to the folder: empty, or ending in `/`.
    prefix: String,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The day it was made, or its commit if it is a mere name: `2026-01-30`.
    pub date: String,
}

/// What git cannot or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be run.
    #[error("cannot run `git`")]
    Run {
        /// Why not.
        source: io::Error,
    },
    /// There is no repository around the folder.
    #[error("`{}` is not in a git repository", folder.display())]
    NoRepository {
        /// The folder.
        folder: PathBuf,
    },
    /// A revision that the repository does not have.
    #[error("the repository has no revision `{revision}`")]
    UnknownRevision {
        /// As given.
        revision: String,
    },
    /// git fails in some other way.
    #[error("`git {command}` failed: {message}")]
    Failed {
        /// The subcommand.
        command: String,
        /// Its words.
        message: String,
    },
}

impl Repository {
    /// The repository around `folder`.
    ///
    /// # Errors
    /// [`Error::NoRepository`] if there is none.
    pub fn around(folder: &Path) -> Result<Self, Error> {
        let repository = Self { folder: folder.to_owned(), prefix: String::new() };
        match repository.run("rev-parse", ["--show-prefix"]) {
            Ok(prefix) => Ok(Self { prefix: prefix.trim_end_matches('\n').to_owned(), ..repository }),
            Err(Error::Failed { message, .. }) if message.contains("not a git repository") => {
                Err(Error::NoRepository { folder: folder.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// The commit that `revision` names.
    ///
    /// # Errors
    /// [`Error::UnknownRevision`] if it names none.
    pub fn commit(&self, revision: &str) -> Result<String, Error> {
        let object = format!("{revision}^{{commit}}");
        match self.run("rev-parse", ["--verify", "--quiet", "--end-of-options", &object]) {
            Ok(id) => Ok(id.trim().to_owned()),
            Err(Error::Failed { .. }) => Err(Error::UnknownRevision { revision: revision.to_owned() }),
            Err(error) => Err(error),
        }
    }

    /// All tags, by date and then by name, the oldest first.
    ///
    /// # Errors
    /// When git fails.
    pub fn tags(&self) -> Result<Vec<Tag>, Error> {
        let format = "--format=%(creatordate:unix) %(creatordate:short) %(refname:strip=2)";
        let listed = self.run("for-each-ref", [format, "refs/tags"])?;
        let mut tags: Vec<(i64, Tag)> = listed.lines().filter_map(tag).collect();
        tags.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        Ok(tags.into_iter().map(|(_, tag)| tag).collect())
    }

    /// Hands each of `files` (a revision, and a path from the folder) to `each`, in order and one at a time: `None`
    /// where the revision has no such file.
    ///
    /// # Errors
    /// When git fails.
    pub fn files(&self, files: &[(String, String)], mut each: impl FnMut(Option<Vec<u8>>)) -> Result<(), Error> {
        let failed = |source: io::Error| failure("cat-file", &source.to_string());
        let mut child = self
            .command("cat-file", ["--batch"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| Error::Run { source })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (mut stdin, stdout) = stdin.zip(stdout).expect("both are piped");
        let names: String = files.iter().map(|(rev, path)| format!("{rev}:{}{path}\n", self.prefix)).collect();
        let answered = std::thread::scope(|scope| {
            // git answers before it has read all: who only writes first would wait for ever. If it ends early, the
            // reader finds that out.
            scope.spawn(move || drop(stdin.write_all(names.as_bytes())));
            let mut stdout = BufReader::new(stdout);
            for _ in files {
                each(object(&mut stdout)?);
            }
            Ok(())
        });
        if answered.is_err() {
            // It may be gone already.
            drop(child.kill());
        }
        child.wait().map_err(failed)?;
        answered.map_err(failed)
    }

    fn command<S: AsRef<OsStr>>(&self, subcommand: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("git");
        // Its messages are looked at, so they must be in one language.
        command.arg("-C").arg(&self.folder).arg(subcommand).args(arguments).env("LC_ALL", "C").stdout(Stdio::piped());
        command
    }

    fn run<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Result<String, Error> {
        let output = self
            .command(name, arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|source| Error::Run { source })?;
        if !output.status.success() {
            return Err(failure(name, String::from_utf8_lossy(&output.stderr).trim()));
        }
        String::from_utf8(output.stdout).map_err(|error| failure(name, &error.to_string()))
    }
}

fn failure(command: &str, message: &str) -> Error {
    Error::Failed { command: command.to_owned(), message: message.to_owned() }
}

/// One line of `for-each-ref`. Tags of other things than commits may have no date.
fn tag(line: &str) -> Option<(i64, Tag)> {
    let mut words = line.splitn(3, ' ');
    let (time, date, name) = (words.next()?, words.next()?, words.next()?);
    Some((time.parse().ok()?, Tag { name: name.to_owned(), date: date.to_owned() }))
}

/// The next answer of `cat-file --batch`: `ID TYPE SIZE`, the content and a newline, or `NAME missing`.
fn object(stdout: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    stdout.read_until(b'\n', &mut header)?;
    let header = String::from_utf8_lossy(&header);
    if header.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut words = header.trim_end().rsplit(' ');
    let (last, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Ok(size) = last.parse::<u64>() else { return Ok(None) };
    let mut content = Vec::new();
    stdout.take(size + 1).read_to_end(&mut content)?;
    if content.len() as u64 != size + 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    content.pop();
    Ok((kind == "blob").then_some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_object_by_object() {
        let mut answers = &b"1f2e blob 5\na\nb c\nv1:some where missing\n1f2e tree 2\nxx\n1f2e blob 9\nshort"[..];
        assert_eq!(object(&mut answers).unwrap().as_deref(), Some(&b"a\nb c"[..]));
        assert_eq!(object(&mut answers).unwrap(), None);
        assert_eq!(object(&mut answers).unwrap(), None, "a folder is no file");
        assert!(object(&mut answers).is_err());
        assert!(object(&mut answers).is_err(), "git ended early");
    }

    #[test]
    fn tags_have_a_day_and_a_name() {
        let (time, tag) = tag("1769731200 2026-01-30 2026.01.30").unwrap();
        assert_eq!((time, tag.date.as_str(), tag.name.as_str()), (1_769_731_200, "2026-01-30", "2026.01.30"));
        assert!(super::tag("  of-a-blob").is_none());
    }
}
