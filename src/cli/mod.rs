//! The command line: arguments in, stages in order, a report out.
//!
//! One file a command; [`ui`] prints, `failure` turns errors into messages, hints and exit codes.

mod args;
mod build;
mod cache;
mod check;
mod diff;
mod export;
mod failure;
mod history;
mod images;
mod inspect;
mod layers;
mod lock;
mod make;
mod outdated;
mod push;
mod rebuild;
mod render;
mod sbom;
mod source;
pub mod ui;
mod verify;
mod why;

use std::ffi::OsString;
use std::io;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use self::args::{Arguments, Command};
use self::failure::Failure;
use self::ui::Ui;
use crate::pipeline::Session;
use crate::project::Project;
use crate::settings::Settings;
use crate::verify::runtime::embedded;

/// Threads for blocking work besides one a job. What blocks here computes: more would be memory and switching, and with
/// none to spare, files could not be read while all jobs work.
const MORE_BLOCKING_THREADS: usize = 4;

/// Runs esker with `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    // Before anything starts a thread: a process with threads cannot enter a user namespace.
    if args.get(1).is_some_and(|arg| arg == embedded::SUBCOMMAND) {
        return embedded::runner_main(args.into_iter().skip(2));
    }
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers (0), anything else is bad usage (2). Nobody is left to tell if this fails.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ui = Ui::new(arguments.global.quiet, arguments.global.json, arguments.global.color);
    start_log(arguments.global.verbose);
    match in_runtime(arguments, &ui) {
        Ok(code) => code,
        Err(failure) => failure.print(&ui),
    }
}

fn in_runtime(arguments: Arguments, ui: &Ui) -> Result<ExitCode, Failure> {
    if let Command::Completions { shell } = arguments.command {
        clap_complete::generate(shell, &mut Arguments::command(), "esker", &mut io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::resolve(&arguments.global.given())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.jobs)
        .max_blocking_threads(settings.jobs + MORE_BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::runtime(&error))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = dispatch(arguments.command, &settings, ui) => result,
            signal = interrupted() => Err(Failure::interrupted(signal)),
        }
    });
    // Work on other threads has its own clean-up to do on the next run: do not wait for it after an interrupt.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command, settings: &Settings, ui: &Ui) -> Result<ExitCode, Failure> {
    if let Command::Diff(args) = &command
        && let Some((old, new)) = args.files()
    {
        return diff::files(args, old, new, ui);
    }
    if let Command::Diff(args) = &command
        && let Some(pair) = diff::image_pair(args, &settings.directory)?
    {
        return diff::images(args, pair, settings, ui).await;
    }
    // These need no project.
    match &command {
        Command::Cache(args) => return cache::run(args, settings, ui),
        Command::Inspect(args) => return inspect::run(args, settings, ui).await,
        Command::Rebuild(args) => return rebuild::run(args, settings, ui).await,
        Command::Sbom(args) => return sbom::run(args, settings, ui).await,
        Command::Verify(args) if args.list => return verify::list(&args.verify, ui),
        _ => {}
    }
    let project = Project::open(&settings.directory)?;
    // The process is about to end: taking half a million records apart one by one would be a tenth of a short run.
    let session = ManuallyDrop::new(Session::open(settings, &project, ui));
    match command {
        Command::Make(args) => make::run(&args, &session, ui).await,
        Command::Lock(args) => lock::run(&args, &session, ui).await,
        Command::Render(args) => render::run(&args, &session, ui).await,
        Command::Build(args) => build::run(&args, &session, ui).await,
        Command::Verify(args) => verify::run(&args, &session, ui).await,
        Command::Push(args) => push::run(&args, &session, ui).await,
        Command::Diff(args) => diff::run(&args, &session, ui),
        Command::Why(args) => why::run(&args, &session, ui),
        Command::History(args) => history::run(&args, &session, ui),
        Command::Outdated(args) => outdated::run(&args, &session, ui).await,
        Command::Export(args) => export::run(&args, &session, ui).await,
        Command::Layers(args) => layers::run(&args, &session, ui).await,
        Command::Images => images::run(&project, ui),
        Command::Cache(_)
        | Command::Completions { .. }
        | Command::Inspect(_)
        | Command::Rebuild(_)
        | Command::Sbom(_) => {
            unreachable!("answered before a project is needed")
        }
    }
}

/// Waits for Ctrl-C or a request to end, and returns the signal's number.
async fn interrupted() -> i32 {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their own effect: the process ends.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).parse_lossy("");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time().init();
}
