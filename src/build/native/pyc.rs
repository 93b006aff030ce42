//! Compiles Python modules to byte code with a CPython that runs on this machine.
//!
//! Without byte code a notebook server takes long to start, and the prefix of an image may not be writable. The
//! interpreter is kept running: a thread borrows one, sends it sources and reads the answers. Nothing of the sources is
//! executed, and nothing touches a disk. The script says why the result is the same whatever was compiled before.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::error::Error;

const SCRIPT: &str = include_str!("compile_pyc.py");

/// A source larger than this, in bytes, is left without byte code: it is data.
pub const MAX_SOURCE: u64 = 16 << 20;
/// The most bytes an answer may have.
const MAX_CODE: u32 = 256 << 20;

/// A Python and the processes of it that wait for work.
#[derive(Debug)]
pub struct Compiler {
    program: PathBuf,
    version: String,
    how: How,
    idle: Mutex<Vec<Worker>>,
}

/// How the script makes marshal's output reproducible, where it has the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By what suits the version.
    ByVersion,
    /// By forking for every file.
    #[cfg(test)]
    Fork,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Compiler {
    /// Will run `program`, which must be a CPython of `version` (`3.12`). Nothing is started yet.
    pub fn new(program: PathBuf, version: &str, how: How) -> Self {
        Self { program, version: version.to_owned(), how, idle: Mutex::default() }
    }

    /// The `.pyc` of `source`, which will be found at the absolute path `name`; `None` if it does not compile, as
    /// templates and Python 2 do not.
    ///
    /// # Errors
    /// [`Error::Compiler`] when the interpreter cannot be started or stops.
    pub fn compile(&self, name: &str, source: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let idle = self.idle().pop();
        let mut worker = idle.map_or_else(|| self.start(), Ok)?;
        let answer = worker.compile(name, source).map_err(|error| self.broken(&format!("at `{name}`: {error}")))?;
        self.idle().push(worker);
        Ok(answer)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<Worker, Error> {
        let mut worker = Worker::start(&self.program, self.how).map_err(|error| self.broken(&error.to_string()))?;
        let greeting = worker.greeting().map_err(|error| self.broken(&error.to_string()))?;
        let expected = format!("esker {}\n", self.version);
        if greeting == expected { Ok(worker) } else { Err(self.broken(&format!("it is not Python {}", self.version))) }
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Compiler { program: self.program.clone(), reason: reason.to_owned() }
    }
}

impl Worker {
    fn start(program: &Path, how: How) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        // No user site, no site, nothing from the environment: only the interpreter itself. The seed fixes the order of
        // sets that become constants, which Pythons before 3.11 write as they find them.
        command.args(["-s", "-S", "-B", "-c", SCRIPT]).env_clear().env("PYTHONHASHSEED", "0").env("LC_ALL", "C.UTF-8");
        match how {
            How::ByVersion => {}
            #[cfg(test)]
            How::Fork => drop(command.arg("fork")),
        }
        let directory = program.parent().unwrap_or(Path::new("/"));
        command.current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let input = BufWriter::new(child.stdin.take().expect("it is piped"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { child, input, output })
    }

    fn greeting(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut (&mut self.output).take(100), &mut line)?;
        Ok(line)
    }

    fn compile(&mut self, name: &str, source: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        for block in [name.as_bytes(), source] {
            let length = u32::try_from(block.len()).map_err(std::io::Error::other)?;
            self.input.write_all(&length.to_le_bytes())?;
            self.input.write_all(block)?;
        }
        self.input.flush()?;
        let (mut status, mut length) = ([0; 1], [0; 4]);
        self.output.read_exact(&mut status)?;
        self.output.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_CODE {
            return Err(std::io::Error::other("the answer makes no sense"));
        }
        // Room for nearly all byte code at once; larger code grows as it comes, whatever was announced.
        let mut code = Vec::with_capacity(length.min(1 << 20) as usize);
        (&mut self.output).take(length.into()).read_to_end(&mut code)?;
        Ok((status == [0] && !code.is_empty()).then_some(code))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be in the middle of a file; nothing it does is worth waiting for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The system's Python and its version; `None`, loudly, where there is none.
#[cfg(test)]
pub fn system_python() -> Option<(PathBuf, String)> {
    let script = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", script]).output().ok().filter(|output| output.status.success());
    let Some(output) = output else {
        crate::skip::skipped("there is no python3 on PATH");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (program, version) = text.trim().split_once('\n').unwrap();
    Some((program.into(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_is_the_same_whatever_came_before() {
        let Some((program, version)) = system_python() else { return };
        let sources = ["x = 'a_name' in {'a_name', 'b', 'c'}\n", "def a_name(b, c):\n    return (b, 'c', 1.5)\n"];
        for how in [How::ByVersion, How::Fork] {
            let compile = |order: &[usize]| {
                let compiler = Compiler::new(program.clone(), &version, how);
                let mut codes = vec![vec![]; 2];
                for index in order {
                    codes[*index] = compiler.compile("/srv/m.py", sources[*index].as_bytes()).unwrap().unwrap();
                }
                codes
            };
            let codes = compile(&[0, 1]);
            assert_eq!(codes, compile(&[1, 0, 1, 0]));
            assert_eq!(codes[0][4..8], [1, 0, 0, 0], "hash-based, unchecked");
            assert!(codes[0].windows(9).any(|part| part == b"/srv/m.py"), "the path in the image is in the code");
        }
    }

    #[test]
    fn the_byte_code_is_what_python_imports() {
        let Some((program, version)) = system_python() else { return };
        let code = Compiler::new(program.clone(), &version, How::ByVersion).compile("/m.py", b"answer = 6 * 7\n");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.pyc");
        std::fs::write(&file, code.unwrap().unwrap()).unwrap();
        let run =
            Command::new(&program).args(["-c", "import m; print(m.answer)"]).env("PYTHONPATH", folder.path()).output();
        assert_eq!(run.unwrap().stdout, b"42\n");
    }

    #[test]
    fn what_does_not_compile_has_no_byte_code() {
        let Some((program, version)) = system_python() else { return };
        let compiler = Compiler::new(program, &version, How::ByVersion);
        let deep = "(".repeat(100_000);
        for bad in ["print 'two'\n", "{{ template }}-\n", "a\0b", deep.as_str(), "# coding: nonsense\n"] {
            assert_eq!(compiler.compile("/m.py", bad.as_bytes()).unwrap(), None, "{}", &bad[..bad.len().min(20)]);
        }
        assert!(compiler.compile("/empty.py", b"").unwrap().is_some());
    }

    #[test]
    fn a_python_that_is_none_is_an_error() {
        let compiler = Compiler::new("/bin/true".into(), "3.12", How::ByVersion);
        assert!(matches!(compiler.compile("/m.py", b""), Err(Error::Compiler { .. })));
        let Some((program, _)) = system_python() else { return };
        let error = Compiler::new(program, "2.7", How::ByVersion).compile("/m.py", b"").unwrap_err();
        assert!(error.to_string().contains("not Python 2.7"), "{error}");
    }
}
