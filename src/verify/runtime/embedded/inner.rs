//! Stage two: the first process of the new PID namespace. It builds the container around itself and becomes its
//! program.
//!
//! The program itself is process 1, not an init of ours: so it is under Docker and Kubernetes, and an image must cope
//! with the signals and orphans that come with that.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, sethostname, setresgid, setresuid, setsid};

use super::outer::map_ids;
use super::protocol::{Blame, Channel, Event, Failure, Privilege, Request, Spec, Step};
use super::rootfs;

/// Becomes the program that `control` asks for; returns only if it cannot.
pub fn run(mut control: Channel) -> Option<Event> {
    let spec: Spec = control.receive().ok()??;
    match become_program(&spec, &mut control) {
        Ok(never) => match never {},
        Err(failure) => Some(Event::Failed(failure)),
    }
}

fn become_program(spec: &Spec, control: &mut Channel) -> Result<Infallible, Failure> {
    umask(Mode::from_bits_truncate(0o022));
    rootfs::enter(spec)?;
    sethostname(&spec.hostname).step("set the host name")?;
    setsid().step("leave the terminal")?;
    drop_privileges(spec)?;
    tie_to_parent(control)?;

    let nothing = || io::Error::other("there is neither an entrypoint nor a command");
    let (program, arguments) =
        spec.argv.split_first().ok_or_else(nothing).blamed(Blame::Image, "run the image's entrypoint")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(spec.env.iter().cloned()).current_dir(&spec.cwd).stdin(Stdio::null());
    Err(command.exec()).blamed(Blame::Image, &format!("run `{program}`"))
}

/// Becomes the container's user, for good.
fn drop_privileges(spec: &Spec) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(spec.owner.0), Gid::from_raw(spec.owner.1));
    match spec.privilege {
        // Leaving user 0 clears every capability (capabilities(7), "Effect of user ID changes").
        Privilege::Root => {
            setgroups(&[gid]).step("set the groups")?;
            setresgid(gid, gid, gid).step("set the group id")?;
            setresuid(uid, uid, uid).step("set the user id")?;
        }
        // User 0 was needed for the mounts. A second namespace gives it the image's id; exec drops the capabilities.
        Privilege::User => {
            unshare(CloneFlags::CLONE_NEWUSER).step("make a second user namespace")?;
            map_ids(spec.owner, (0, 0))?;
        }
    }
    prctl::set_no_new_privs().step("give up new privileges")
}

/// Makes the kernel kill this process when stage one dies. Changing ids clears that, so it comes last; and stage one
/// must answer afterwards, lest it died before.
fn tie_to_parent(control: &mut Channel) -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).step("follow the parent's death")?;
    control.send(&Event::Ready).step("report to the parent")?;
    let answer: Option<Request> = control.receive().step("hear from the parent")?;
    answer.map(|_| ()).ok_or_else(|| io::Error::other("the parent is gone")).step("hear from the parent")
}
