//! Stage one: leaves the host's namespaces, starts stage two in new ones, and outlives it.
//!
//! Why stages: `unshare(CLONE_NEWUSER)` works in a process of one thread only, which esker is not; the first process
//! of a PID namespace must be born in it; and doing either between fork and exec needs `unsafe` code. So esker runs
//! itself.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, Uid};

use super::protocol::{Channel, Event, Failure, Privilege, Request, Spec, Step};
use super::{INNER, SUBCOMMAND, loopback};
use crate::verify::runtime::{Exit, Network};

/// Runs the container that `control` asks for, to its end.
pub fn run(mut control: Channel) -> Option<Event> {
    let spec: Spec = control.receive().ok()??;
    Some(supervise(&spec, control).map_or_else(Event::Failed, Event::Exited))
}

/// How far stage two has come: the one thing shared with the thread that listens to esker.
enum Stage {
    Coming,
    Running(Pid),
    /// Its id may belong to another process soon, or already does.
    Gone,
    /// esker was gone before it started.
    Abandoned,
}

fn supervise(spec: &Spec, control: Channel) -> Result<Exit, Failure> {
    leave_host(spec)?;
    let stage = Arc::new(Mutex::new(Stage::Coming));
    // Before the PID namespace is left: afterwards the kernel makes no threads for this process.
    let listener = Arc::clone(&stage);
    std::thread::Builder::new().spawn(move || listen(control, &listener)).step("start a thread")?;
    unshare(CloneFlags::CLONE_NEWPID).step("make a PID namespace")?;

    let (ours, theirs) = UnixStream::pair().step("make a socket pair")?;
    let mut child = start_inner(&stage, theirs)?;
    let refused = attend(spec, Channel::new(ours));
    let exit = reap(&stage, &mut child)?;
    refused.map_or(Ok(exit), Err)
}

fn leave_host(spec: &Spec) -> Result<(), Failure> {
    if spec.privilege == Privilege::User {
        let (uid, gid) = (Uid::current(), Gid::current());
        unshare(CloneFlags::CLONE_NEWUSER).step("make a user namespace")?;
        map_ids((0, 0), (uid.as_raw(), gid.as_raw()))?;
    }
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if spec.network == Network::None {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).step("make mount, IPC, UTS and network namespaces")?;
    if spec.network == Network::None {
        loopback::bring_up().step("bring up the loopback interface")?;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).step("make mounts private")
}

/// Maps `outside` to `inside` in the user namespace just made, user and group each.
pub fn map_ids(inside: (u32, u32), outside: (u32, u32)) -> Result<(), Failure> {
    let write = |file: &str, text: String| {
        fs_err::write(format!("/proc/self/{file}"), text).step(&format!("write /proc/self/{file}"))
    };
    // user_namespaces(7): without privilege, group ids are mapped only after giving up setgroups.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{} {} 1", inside.0, outside.0))?;
    write("gid_map", format!("{} {} 1", inside.1, outside.1))
}

/// Passes esker's requests on, and kills the container when esker is gone.
fn listen(mut control: Channel, stage: &Mutex<Stage>) {
    loop {
        let request = control.receive::<Request>().ok().flatten();
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = if request.is_some() { Signal::SIGTERM } else { Signal::SIGKILL };
        match *stage {
            // Fails only when the process has just ended by itself.
            Stage::Running(pid) => kill(pid, signal).unwrap_or_default(),
            Stage::Coming if request.is_none() => *stage = Stage::Abandoned,
            Stage::Coming | Stage::Gone | Stage::Abandoned => {}
        }
        if request.is_none() {
            return;
        }
    }
}

fn start_inner(stage: &Mutex<Stage>, socket: UnixStream) -> Result<Child, Failure> {
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*stage, Stage::Abandoned) {
        return Err(std::io::Error::other("esker is gone")).step("start the container");
    }
    let mut command = Command::new("/proc/self/exe");
    command.args([SUBCOMMAND, INNER]).stdin(Stdio::from(OwnedFd::from(socket)));
    let child = command.spawn().step("start the container's first process")?;
    *stage = Stage::Running(pid_of(&child));
    Ok(child)
}

/// Talks stage two through its set-up; returns what it failed to do, once it has failed or become the program.
fn attend(spec: &Spec, mut inner: Channel) -> Option<Failure> {
    // An error here means that stage two died, which its exit status tells.
    inner.send(spec).ok()?;
    loop {
        match inner.receive::<Event>().ok()?? {
            Event::Ready => inner.send(&Request::Go).ok()?,
            Event::Failed(failure) => return Some(failure),
            Event::Exited(_) => {}
        }
    }
}

fn reap(stage: &Mutex<Stage>, child: &mut Child) -> Result<Exit, Failure> {
    // First without taking its id away, so that no signal can go to a process that got the same id.
    waitid(Id::Pid(pid_of(child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).step("wait for the container")?;
    *stage.lock().unwrap_or_else(PoisonError::into_inner) = Stage::Gone;
    let status = child.wait().step("wait for the container")?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    })
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("Linux process ids fit 22 bits"))
}
