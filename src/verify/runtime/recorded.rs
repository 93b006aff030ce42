//! What the containers of one check did, kept for its log.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::future::BoxFuture;

use super::{Command, ContainerRuntime, Error, Exit, Program, Running, RuntimeKind, Tail};

/// Passes everything on to another runtime, and remembers what was started and what it prints.
pub struct Recorded<'a> {
    runtime: &'a dyn ContainerRuntime,
    runs: Mutex<Vec<Run>>,
}

/// One container: its outputs are shared with whoever runs it.
struct Run {
    command: String,
    stdout: Tail,
    stderr: Tail,
    exit: Arc<OnceLock<Exit>>,
}

impl<'a> Recorded<'a> {
    /// Nothing was started yet.
    pub fn new(runtime: &'a dyn ContainerRuntime) -> Self {
        Self { runtime, runs: Mutex::default() }
    }

    /// The containers in the order in which they started: what ran, what it printed, how it ended. Empty if there was none.
    pub fn log(&self) -> String {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().map(Run::log).collect::<Vec<_>>().join("\n")
    }
}

impl ContainerRuntime for Recorded<'_> {
    fn kind(&self) -> RuntimeKind {
        self.runtime.kind()
    }

    fn listen(&self) -> Result<SocketAddr, Error> {
        self.runtime.listen()
    }

    fn start<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Running, Error>> {
        Box::pin(async {
            let running = self.runtime.start(command).await?;
            let (stdout, stderr) = (running.stdout.clone(), running.stderr.clone());
            let run = Run { command: describe(command), stdout, stderr, exit: Arc::clone(&running.exit) };
            self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(run);
            Ok(running)
        })
    }
}

impl Run {
    fn log(&self) -> String {
        let mut log = format!("$ {}\n", self.command);
        for (name, tail) in [("standard output", &self.stdout), ("standard error", &self.stderr)] {
            let text = tail.text();
            if !text.is_empty() {
                let end = if text.ends_with('\n') { "" } else { "\n" };
                write!(log, "--- {name}\n{text}{end}").expect("a String takes everything");
            }
        }
        let end = self.exit.get().map_or_else(|| "killed when nobody waited for it".to_owned(), Exit::to_string);
        log + &format!("--- {end}\n")
    }
}

/// `command` as somebody would type it.
fn describe(command: &Command) -> String {
    let env = command.env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let words = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>();
    let argv = match &command.program {
        Program::Default => vec!["(entrypoint) (command)".to_owned()],
        Program::Arguments(arguments) => [vec!["(entrypoint)".to_owned()], words(arguments)].concat(),
        Program::Instead(argv) => words(argv),
    };
    env.chain(argv).collect::<Vec<_>>().join(" ")
}

/// `word` as a shell would read it. No program can be given one with a NUL, which has no spelling.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_what_ran_and_what_came_of_it() {
        let command = Command::arguments(["bash", "-c", "echo it's"]).env("A", "b c");
        let (stdout, stderr) = (Tail::default(), Tail::default());
        stdout.push(b"its");
        let exit = Arc::new(OnceLock::from(Exit::Code(1)));
        let run = Run { command: describe(&command), stdout, stderr, exit };
        let expected = "$ A='b c' (entrypoint) bash -c \"echo it's\"\n--- standard output\nits\n--- exit code 1\n";
        assert_eq!(run.log(), expected);
    }
}
