//! What a builder says while it builds, as lines for people; and which step it was that failed.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::StatusResponse;

use super::Error;
use crate::oci::Platform;
use crate::progress::Progress;

/// The most lines of a step's output that are kept for an error.
const KEPT: usize = 30;

/// The steps of one build, as far as it has come.
pub struct Steps<'a> {
    progress: &'a dyn Progress,
    platform: Platform,
    /// BuildKit's steps by their digest. The classic builder has one at a time, under the empty one.
    steps: HashMap<String, Step>,
    failed: Option<String>,
}

#[derive(Default)]
struct Step {
    name: String,
    /// Whether it was told that it began, and that it was there already.
    told: (bool, bool),
    /// The end of its output.
    output: VecDeque<String>,
    /// What came behind the last line's end.
    begun: String,
}

impl<'a> Steps<'a> {
    /// No steps yet, of a build for `platform`.
    pub fn new(platform: Platform, progress: &'a dyn Progress) -> Self {
        Self { progress, platform, steps: HashMap::new(), failed: None }
    }

    /// Takes in what BuildKit says.
    pub fn status(&mut self, status: &StatusResponse) {
        for vertex in &status.vertexes {
            let step = self.steps.entry(vertex.digest.clone()).or_default();
            step.name.clone_from(&vertex.name);
            // What BuildKit does for itself, such as reading the Dockerfile, is no step of anybody's.
            let is_shown = !vertex.name.starts_with("[internal]");
            if is_shown && vertex.cached && !step.told.1 {
                step.told = (true, true);
                self.progress.note(&format!("{} {} (cached)", self.platform, plain(&vertex.name)));
            } else if is_shown && vertex.started.is_some() && !step.told.0 {
                step.told.0 = true;
                self.progress.note(&format!("{} {}", self.platform, plain(&vertex.name)));
            }
            if !vertex.error.is_empty() && self.failed.is_none() {
                self.failed = Some(vertex.digest.clone());
            }
        }
        for log in &status.logs {
            let step = self.steps.entry(log.vertex.clone()).or_default();
            step.take(&String::from_utf8_lossy(&log.msg), self.progress);
        }
    }

    /// Takes in what the classic builder says.
    pub fn text(&mut self, text: &str) {
        if let Some(name) = step_name(text) {
            let step = Step { name: name.to_owned(), ..Step::default() };
            self.progress.note(&format!("{} {}", self.platform, plain(text.trim_end())));
            self.steps.insert(String::new(), step);
        } else if !is_chatter(text) {
            self.steps.entry(String::new()).or_default().take(text, self.progress);
        }
    }

    /// The error for a build that ended with `reason`: of the step that failed, if one did.
    pub fn failure(mut self, reason: &str) -> Error {
        let classic = self.steps.contains_key("") && is_of_a_step(reason);
        let failed = self.failed.take().or_else(|| classic.then(String::new));
        let step = failed.and_then(|digest| self.steps.remove(&digest));
        let reason = plain(reason.trim());
        match step {
            Some(mut step) => {
                step.end(self.progress);
                Error::Step { step: plain(&step.name), platform: self.platform, reason, output: step.output.into() }
            }
            None => Error::Build { platform: self.platform, reason },
        }
    }
}

impl Step {
    fn take(&mut self, text: &str, progress: &dyn Progress) {
        self.begun.push_str(text);
        while let Some(end) = self.begun.find('\n') {
            let rest = self.begun.split_off(end + 1);
            let line = std::mem::replace(&mut self.begun, rest);
            self.line(&line, progress);
        }
    }

    /// The last line may have no end.
    fn end(&mut self, progress: &dyn Progress) {
        let line = std::mem::take(&mut self.begun);
        if !line.trim().is_empty() {
            self.line(&line, progress);
        }
    }

    fn line(&mut self, line: &str, progress: &dyn Progress) {
        let line = plain(line.trim_end());
        progress.note(&format!("  {line}"));
        if self.output.len() == KEPT {
            self.output.pop_front();
        }
        self.output.push_back(line);
    }
}

/// `text` as one line without what moves cursors: colours, and what was written over.
fn plain(text: &str) -> String {
    let last = text.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut plain = String::new();
    let mut characters = last.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A control sequence: to its final letter.
            if characters.next() == Some('[') {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
        } else if character == '\t' || !character.is_control() {
            plain.push(character);
        } else if character == '\n' {
            plain.push(' ');
        }
    }
    plain
}

/// The instruction in `Step 2/5 : RUN true`.
fn step_name(text: &str) -> Option<&str> {
    let (number, name) = text.strip_prefix("Step ")?.split_once(" : ")?;
    number.contains('/').then(|| name.trim_end())
}

/// What the classic builder says of its own doings.
fn is_chatter(text: &str) -> bool {
    let line = text.trim();
    line.is_empty()
        || [" ---> ", "---> ", "Removing intermediate container", "Successfully built", "Successfully tagged"]
            .iter()
            .any(|start| text.starts_with(start) || line.starts_with(start))
}

/// Whether the classic builder's reason is about the step it was at.
fn is_of_a_step(reason: &str) -> bool {
    !reason.contains("Dockerfile") && !reason.contains("dockerfile")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Progress for Lines {
        fn started(&self, _: u64, _: &str, _: Option<u64>, _: crate::progress::Unit) {}
        fn advanced(&self, _: u64, _: u64) {}
        fn finished(&self, _: u64, _: Option<&str>) {}
        fn warning(&self, _: &str) {}
        fn note(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    fn vertex(digest: &str, name: &str, cached: bool, error: &str) -> Vertex {
        Vertex {
            digest: digest.into(),
            name: name.into(),
            cached,
            started: Some(Default::default()),
            error: error.into(),
            ..Vertex::default()
        }
    }

    fn log(vertex: &str, text: &str) -> VertexLog {
        VertexLog { vertex: vertex.into(), msg: text.into(), ..VertexLog::default() }
    }

    #[test]
    fn steps_of_buildkit_are_told_once_and_the_failing_one_is_known() {
        let lines = Lines::default();
        let mut steps = Steps::new(Platform::LinuxAmd64, &lines);
        let response =
            |vertexes: Vec<Vertex>, logs: Vec<VertexLog>| StatusResponse { vertexes, logs, ..Default::default() };
        steps.status(&response(
            vec![vertex("i", "[internal] load", false, ""), vertex("a", "[1/2] FROM x", true, "")],
            vec![],
        ));
        steps.status(&response(
            vec![vertex("b", "[2/2] RUN false", false, "")],
            vec![log("b", "one\ntw"), log("b", "o\rTWO\n")],
        ));
        steps.status(&response(
            vec![vertex("b", "[2/2] RUN false", false, "exit code: 1")],
            vec![log("b", "\u{1b}[31mend")],
        ));
        let error = steps.failure("process did not complete");
        let expected = ["linux/amd64 [1/2] FROM x (cached)", "linux/amd64 [2/2] RUN false", "  one", "  TWO", "  end"];
        assert_eq!(*lines.0.lock().unwrap(), expected);
        let Error::Step { step, output, .. } = &error else { panic!("{error:?}") };
        assert_eq!((step.as_str(), output.join("|").as_str()), ("[2/2] RUN false", "one|TWO|end"));
        assert!(error.to_string().contains("its output ended with\n  one"), "{error}");
    }

    #[test]
    fn steps_of_the_classic_builder_are_told_and_the_last_is_the_failing_one() {
        let lines = Lines::default();
        let mut steps = Steps::new(Platform::LinuxArm64, &lines);
        for text in ["Step 1/2 : FROM x\n", " ---> 0123\n", "Step 2/2 : RUN false\n", " ---> Running in 45\n", "out\n"]
        {
            steps.text(text);
        }
        let error = steps.failure("The command '/bin/sh -c false' returned a non-zero code: 1");
        let expected = ["linux/arm64 Step 1/2 : FROM x", "linux/arm64 Step 2/2 : RUN false", "  out"];
        assert_eq!(*lines.0.lock().unwrap(), expected);
        assert!(matches!(&error, Error::Step { step, .. } if step == "RUN false"), "{error:?}");
    }

    #[test]
    fn a_build_that_fails_without_a_step_says_why() {
        let steps = Steps::new(Platform::LinuxArm64, &crate::progress::Silent);
        assert!(
            matches!(steps.failure("unknown instruction: RUM"), Error::Build { reason, .. } if reason.contains("RUM"))
        );
    }
}
