//! The only place that prints.
//!
//! stdout carries what another program would want; everything else goes to stderr: bars on a terminal, plain lines
//! elsewhere, nothing but warnings and errors under `-q`.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::progress::{Progress, Unit};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const DONE: Style = AnsiColor::Green.on_default();

/// What a reader should look at first.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What is worth a look.
pub const NOTABLE: Style = AnsiColor::Yellow.on_default();
/// Anything else.
pub const PLAIN: Style = Style::new();

/// How often a long task says where it is when nobody watches a bar.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Prints results, status and progress.
pub struct Ui {
    quiet: bool,
    json: bool,
    bars: Option<MultiProgress>,
    tasks: Mutex<HashMap<u64, Shown>>,
}

struct Shown {
    label: String,
    total: Option<u64>,
    unit: Unit,
    done: u64,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Ui {
    /// Decides where bars and colours go. `json`: results are printed as one JSON document.
    pub fn new(quiet: bool, json: bool, color: Color) -> Self {
        match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
        .write_global();
        let terminal = io::stderr().is_terminal() && !quiet;
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { quiet, json, bars, tasks: Mutex::default() }
    }

    /// Prints a command's result: `report` as JSON under `--json`, else what `human` makes of it.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe is no error.
    pub fn result<T: Serialize>(&self, report: &T, human: impl FnOnce(&T) -> String) -> io::Result<()> {
        if self.json { self.json(report) } else { self.out(&human(report)) }
    }

    /// Prints `report` as JSON, whether or not `--json` was given.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe is no error.
    pub fn json<T: Serialize>(&self, report: &T) -> io::Result<()> {
        let mut json = serde_json::to_string_pretty(report)?;
        json.push('\n');
        self.out(&json)
    }

    /// Writes `text` to stdout as it is.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe is no error.
    pub fn out(&self, text: &str) -> io::Result<()> {
        let mut stdout = anstream::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Says that an image was left out for want of a lock.
    pub fn note_unlocked(&self, image: &str) {
        self.note(&format!("{image}: not locked"));
    }

    /// Prints a failure: the error, what caused it, and what can be done, each line of `hint` for itself.
    pub fn failure(&self, message: &dyn Display, causes: &[String], hint: Option<&str>) {
        let mut text = format!("{ERROR}error{ERROR:#}: {message}");
        for cause in causes {
            text.push_str(&format!("\ncaused by: {cause}"));
        }
        for hint in hint.into_iter().flat_map(str::lines) {
            text.push_str(&format!("\n{HINT}hint{HINT:#}: {hint}"));
        }
        self.line(&text);
    }

    fn line(&self, text: &str) {
        // Nothing sensible is left to do when stderr itself is gone.
        let print = || drop(writeln!(anstream::stderr().lock(), "{text}"));
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<u64, Shown>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self, label: &str, total: Option<u64>, unit: Unit) -> Option<ProgressBar> {
        let bars = self.bars.as_ref()?;
        let template = match (total, unit) {
            (None, _) => "{spinner} {prefix} {elapsed}",
            (Some(_), Unit::Count) => "{spinner} {prefix:30} {wide_bar:.cyan/dim} {pos}/{len}",
            (Some(_), Unit::Bytes) => {
                "{spinner} {prefix:30} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec}"
            }
        };
        let bar = bars.add(total.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        bar.set_style(ProgressStyle::with_template(template).expect("a template written here"));
        bar.set_prefix(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Some(bar)
    }
}

impl Progress for Ui {
    fn started(&self, id: u64, label: &str, total: Option<u64>, unit: Unit) {
        let bar = self.bar(label, total, unit);
        let shown = Shown { label: label.to_owned(), total, unit, done: 0, said: Instant::now(), bar };
        self.tasks().insert(id, shown);
    }

    fn advanced(&self, id: u64, amount: u64) {
        let mut tasks = self.tasks();
        let Some(task) = tasks.get_mut(&id) else { return };
        task.done += amount;
        if let Some(bar) = &task.bar {
            bar.inc(amount);
        } else if !self.quiet && task.said.elapsed() >= PLAIN_INTERVAL {
            task.said = Instant::now();
            let line = task.where_it_is();
            drop(tasks);
            self.line(&line);
        }
    }

    fn finished(&self, id: u64, summary: Option<&str>) {
        let task = self.tasks().remove(&id);
        if let Some(bar) = task.and_then(|task| task.bar) {
            bar.finish_and_clear();
        }
        if let Some(summary) = summary.filter(|_| !self.quiet) {
            self.line(&format!("{DONE}✓{DONE:#} {summary}"));
        }
    }

    fn warning(&self, message: &str) {
        self.line(&format!("{WARNING}warning{WARNING:#}: {message}"));
    }

    fn note(&self, message: &str) {
        if !self.quiet {
            self.line(message);
        }
    }
}

impl Shown {
    fn where_it_is(&self) -> String {
        let number = |n: u64| match self.unit {
            Unit::Count => n.to_string(),
            Unit::Bytes => HumanBytes(n).to_string(),
        };
        match self.total {
            Some(total) => format!("  {}: {} of {}", self.label, number(self.done), number(total)),
            None => format!("  {}: {}", self.label, number(self.done)),
        }
    }
}

/// A number of bytes as people read it (`1.25 GiB`).
pub fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}
