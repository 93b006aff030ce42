//! What maintainer scripts come to, and the table of those that are known by their package.
//!
//! A script that is in no table is followed by [`super::scripts`]; one that does more than can be followed needs a line
//! here, with what it does on a first installation, or is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::accounts::Accounts;
use super::alternatives::{self, Alternative};
use super::certificates;
use super::error::Error;
use super::sysusers;
use super::tree::{Content, Node, Owner, Tree};
use super::{libraries, pam, shells};

/// One thing that a script does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `update-alternatives --install`
    Alternative(Alternative),
    /// A group, with this number or the next.
    Group { name: String, id: Option<u32> },
    /// A user of the group of the same name.
    User { name: String, id: Option<u32>, gecos: String, home: String, shell: String },
    /// What a file of sysusers.d declares, by its path.
    Declared(String),
    /// A file's group and mode.
    Mode { path: &'static str, group: &'static str, mode: u32 },
    /// A directory of this mode, user and group, unless it is there.
    Directory { path: &'static str, mode: u32, owner: (u32, u32) },
    /// A symbolic link, unless there is something.
    Link { path: &'static str, target: &'static str },
    /// A file, unless there is something.
    File { path: &'static str, text: Cow<'static, str> },
    /// A copy of another file of the package, unless there is something, or no folder for it.
    Copy { path: &'static str, from: &'static str },
    /// A symbolic link in the place of an empty directory.
    Replace { path: &'static str, target: &'static str },
    /// The accounts that are the same on every Debian system.
    Accounts,
    /// `update-shells`
    Shells,
    /// `pam-auth-update`
    Pam,
    /// `ldconfig`
    Libraries,
    /// `update-ca-certificates`
    Certificates,
}

/// What the scripts of `package` do on a first installation, if that is known by its name.
pub fn known(package: &str) -> Option<Vec<Effect>> {
    let group = |name: &str| Effect::Group { name: name.to_owned(), id: None };
    Some(match package {
        "ca-certificates" => vec![
            Effect::Directory { path: "usr/local/share/ca-certificates", mode: 0o755, owner: (0, 0) },
            Effect::Certificates,
        ],
        // ssh-agent runs with a group of its own, so that no other process of the user can read its memory.
        "openssh-client" => {
            vec![group("_ssh"), Effect::Mode { path: "usr/bin/ssh-agent", group: "_ssh", mode: 0o2755 }]
        }
        // The time zone that debconf has where nobody is asked.
        "tzdata" => vec![
            Effect::Link { path: "etc/localtime", target: "/usr/share/zoneinfo/Etc/UTC" },
            Effect::File { path: "etc/timezone", text: "Etc/UTC\n".into() },
        ],
        // The manuals' index is made when somebody asks for it. User and group `man` are the same everywhere.
        "man-db" => vec![Effect::Directory { path: "var/cache/man", mode: 0o755, owner: (6, 12) }],
        "readline-common" => vec![Effect::Copy { path: "etc/inputrc", from: "usr/share/readline/inputrc" }],
        // They compile byte code, which Python does without, and note for upgrades that it is new.
        "libpython3.11-minimal"
        | "python3.11-minimal"
        | "python3-minimal"
        | "python3"
        | "python3-distutils"
        | "python3-lib2to3"
        | "python3.11"
        | "python3.11-venv" => vec![],
        // It keeps vim-tiny's help, which it has more of itself, out of the way; the index of plug-ins' help is empty.
        "vim-runtime" => vec![],
        // Names of networks, for programs that ask for them; engines put their own `/etc/hosts` in the place of this one.
        "netbase" => vec![
            Effect::File { path: "etc/hosts", text: "127.0.0.1\tlocalhost\n::1\t\tlocalhost\n".into() },
            Effect::File {
                path: "etc/networks",
                text: "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n".into(),
            },
        ],
        // What configuration files it has put in place so far.
        "ucf" => vec![
            Effect::File { path: "var/lib/ucf/hashfile", text: "".into() },
            Effect::File { path: "var/lib/ucf/registry", text: "".into() },
        ],
        // Capabilities that debconf has not given where nobody is asked; a clock's helper goes without privileges.
        "iproute2" | "libgstreamer1.0-0" => vec![],
        // It compiles settings, of which it has none itself: a package that has is refused, see `NEEDS`.
        "libglib2.0-0" => vec![],
        // It makes room for other packages' `ps` and `kill`, which are in its own places.
        "procps" => vec![],
        // It may be a login shell.
        "tmux" => vec![],
        // It asks what hinting is wanted and writes links for what is not the default; caches are made when missed.
        "fontconfig" | "fontconfig-config" => vec![],
        // An icon cache is made where GTK is there to make it, and it is found without.
        "hicolor-icon-theme" => vec![],
        // Copies and configuration left over from upgrades are cleaned up.
        "libgcrypt20" | "libsensors5" => vec![],
        "xz-utils" => vec![Effect::Alternative(lzma())],
        // Directories for X servers, which no container is.
        "x11-common" => vec![],
        _ => return None,
    })
}

/// Folders of whose files a program would have to make something, by what their paths begin and go on with, and the
/// program.
const NEEDS: [(&str, &str, &str); 3] = [
    ("/etc/ld.so.conf.d/", "", "ldconfig"),
    ("/usr/share/glib-2.0/schemas/", "", "glib-compile-schemas"),
    ("/usr/lib/", "/gdk-pixbuf-2.0/2.10.0/loaders/", "gdk-pixbuf-query-loaders"),
];

/// Which of the `paths` of a package a program would have to make something of that nothing works without.
pub fn needs(paths: &[String]) -> Option<String> {
    paths.iter().find_map(|path| {
        let is_in = |folder: &&(&str, &str, &str)| {
            path.strip_prefix(folder.0).is_some_and(|rest| !rest.is_empty() && rest.contains(folder.1))
        };
        let (_, _, program) = NEEDS.iter().find(is_in)?;
        Some(format!("`{program}` would have to read `{path}`"))
    })
}

/// `lzma` and its kin as other names of `xz`.
fn lzma() -> Alternative {
    let mut slaves = Vec::new();
    let mut slave = |folder: &str, name: &str, target: &str| {
        slaves.push((format!("{folder}/{name}"), name.to_owned(), format!("{folder}/{target}")));
    };
    let (programs, manuals) = ("/usr/bin", "/usr/share/man/man1");
    slave(manuals, "lzma.1.gz", "xz.1.gz");
    for name in ["unlzma", "lzcat", "lzmore", "lzless", "lzdiff", "lzcmp", "lzgrep", "lzegrep", "lzfgrep"] {
        let target = if name == "unlzma" { "unxz".to_owned() } else { name.replacen("lz", "xz", 1) };
        slave(programs, name, &target);
        slave(manuals, &format!("{name}.1.gz"), &format!("{target}.1.gz"));
    }
    let [link, path] = ["lzma", "xz"].map(|name| format!("{programs}/{name}"));
    Alternative { link, name: "lzma".to_owned(), path, priority: 20, slaves }
}

/// Whether a file of `package` may carry set-user-id or set-group-id bits: the programs that are no use without, in
/// Debian's own packages. A hub that forbids privilege escalation, as KubeSpawner does, makes the bits mean nothing.
pub fn may_set_id(package: &str, path: &str) -> bool {
    const ALLOWED: [(&str, &str); 20] = [
        ("fuse", "bin/fusermount"),
        ("fuse3", "bin/fusermount3"),
        ("libutempter0", "usr/lib/aarch64-linux-gnu/utempter/utempter"),
        ("libutempter0", "usr/lib/powerpc64le-linux-gnu/utempter/utempter"),
        ("libutempter0", "usr/lib/x86_64-linux-gnu/utempter/utempter"),
        ("libpam-modules-bin", "sbin/unix_chkpwd"),
        ("login", "bin/newgrp"),
        ("login", "usr/bin/newgrp"),
        ("mount", "bin/mount"),
        ("mount", "bin/umount"),
        ("openssh-client", "usr/lib/openssh/ssh-keysign"),
        ("passwd", "usr/bin/chage"),
        ("passwd", "usr/bin/chfn"),
        ("passwd", "usr/bin/chsh"),
        ("passwd", "usr/bin/expiry"),
        ("passwd", "usr/bin/gpasswd"),
        ("passwd", "usr/bin/passwd"),
        ("screen", "usr/bin/screen"),
        ("sudo", "usr/bin/sudo"),
        ("util-linux", "bin/su"),
    ];
    ALLOWED.contains(&(package, path))
}

/// What effects are applied to, besides the tree.
pub struct Applied<'a> {
    /// Files of the base, by path.
    pub base: &'a BTreeMap<String, Vec<u8>>,
    /// Accounts, which come to have the new ones.
    pub accounts: &'a mut Accounts,
    /// The time of what is made.
    pub time: u64,
}

impl Applied<'_> {
    /// Carries out `effects`.
    ///
    /// # Errors
    /// When the base is in the way, or something cannot be read or written.
    pub fn apply(&mut self, effects: &[Effect], tree: &mut Tree) -> Result<(), Error> {
        let mut chosen: Vec<Alternative> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Alternative(alternative) => chosen.push(alternative.clone()),
                other => self.one(other, tree)?,
            }
        }
        alternatives::apply(&chosen, self.base, tree, self.time)?;
        if effects.contains(&Effect::Certificates) {
            certificates::update(self.base, tree, self.time)?;
        }
        Ok(())
    }

    fn one(&mut self, effect: &Effect, tree: &mut Tree) -> Result<(), Error> {
        match effect {
            Effect::Alternative(_) | Effect::Certificates => {}
            Effect::Group { name, id } => self.accounts.add_group(name, *id),
            Effect::User { name, id, gecos, home, shell } => self.accounts.add_user(name, *id, gecos, home, shell),
            Effect::Declared(path) => {
                let text = tree.added_bytes(path)?.or_else(|| self.base.get(path).cloned()).unwrap_or_default();
                let declared = sysusers::read(&String::from_utf8_lossy(&text));
                for effect in declared.map_err(|reason| Error::Base { reason })? {
                    self.one(&effect, tree)?;
                }
            }
            Effect::Mode { path, group, mode } => {
                let gid = self.accounts.group_id(group);
                if let (Some(node), Some(gid)) = (tree.get_mut(path), gid) {
                    (node.gid, node.mode) = (gid, *mode);
                }
            }
            Effect::Directory { path, mode, owner: (uid, gid) } => {
                let (mode, uid, gid) = (*mode, *uid, *gid);
                if tree.follow(path).is_none() {
                    let (content, owner) = (Content::Directory, Owner::Nobody);
                    let above = Node { content, mode: 0o755, uid: 0, gid: 0, mtime: self.time, owner, added: true };
                    tree.insert(path, above);
                    if let Some(node) = tree.get_mut(path) {
                        (node.mode, node.uid, node.gid) = (mode, uid, gid);
                    }
                }
            }
            Effect::Link { path, target } => {
                if tree.get(path).is_none() {
                    tree.link(path, target, self.time);
                }
            }
            Effect::File { path, text } => {
                if tree.get(path).is_none() {
                    tree.write(path, text.as_bytes(), 0o644, self.time)?;
                }
            }
            Effect::Replace { path, target } => {
                let is_empty = tree.below(path).next().is_none();
                if is_empty && tree.get(path).is_none_or(|node| node.content == Content::Directory) {
                    tree.link(path, target, self.time);
                }
            }
            Effect::Accounts => self.accounts.make(tree)?,
            Effect::Shells => shells::update(tree, self.time)?,
            Effect::Pam => pam::update(tree, self.time)?,
            Effect::Libraries => libraries::update(tree, self.time)?,
            Effect::Copy { path, from } => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                if tree.get(path).is_none()
                    && tree.follow(folder).is_some()
                    && let Some(bytes) = tree.added_bytes(from)?
                {
                    tree.write(path, &bytes, 0o644, self.time)?;
                }
            }
        }
        Ok(())
    }
}
