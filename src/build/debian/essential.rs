//! What the scripts of the packages that every Debian has do on a new system, by the package's name. These scripts were
//! read for the releases that can be made; what another release's do may differ.

use super::alternatives::Alternative;
use super::effects::Effect;

/// What the scripts of `package` do where nothing is installed, if it is known here; others are read.
pub fn known(package: &str) -> Option<Vec<Effect>> {
    let (root, utmp) = ("root", "utmp");
    let folder = |path, mode, group| Effect::Directory { path, mode, owner: (0, group) };
    let copy = |path, from| Effect::Copy { path, from };
    let empty = |path| Effect::File { path, text: "".into() };
    let mode = |path, group, mode| Effect::Mode { path, group, mode };
    Some(match package {
        "base-files" => vec![
            Effect::Link { path: "etc/dpkg/origins/default", target: "debian" },
            copy("root/.profile", "usr/share/base-files/dot.profile"),
            copy("root/.bashrc", "usr/share/base-files/dot.bashrc"),
            copy("etc/profile", "usr/share/base-files/profile"),
            copy("etc/motd", "usr/share/base-files/motd"),
            copy("usr/share/info/dir", "usr/share/base-files/info.dir"),
            folder("mnt", 0o755, 0),
            folder("srv", 0o755, 0),
            folder("opt", 0o755, 0),
            folder("etc/opt", 0o755, 0),
            folder("var/opt", 0o755, 0),
            folder("media", 0o755, 0),
            // Group `mail`.
            folder("var/mail", 0o2775, 8),
            Effect::Link { path: "var/spool/mail", target: "../mail" },
            folder("run/lock", 0o1777, 0),
            Effect::Replace { path: "var/run", target: "/run" },
            Effect::Replace { path: "var/lock", target: "/run/lock" },
            folder("usr/local/share/man", 0o755, 0),
            folder("usr/local/bin", 0o755, 0),
            folder("usr/local/games", 0o755, 0),
            folder("usr/local/lib", 0o755, 0),
            folder("usr/local/include", 0o755, 0),
            folder("usr/local/sbin", 0o755, 0),
            folder("usr/local/src", 0o755, 0),
            folder("usr/local/etc", 0o755, 0),
            Effect::Link { path: "usr/local/man", target: "share/man" },
            empty("var/log/wtmp"),
            mode("var/log/wtmp", utmp, 0o664),
            empty("var/log/btmp"),
            mode("var/log/btmp", utmp, 0o660),
            empty("var/log/lastlog"),
            mode("var/log/lastlog", utmp, 0o664),
        ],
        "base-passwd" => vec![Effect::Accounts],
        // The user it fetches as is one of those that every system has.
        "apt" => vec![],
        // It keeps the name `sh` for itself.
        "dash" => vec![Effect::File {
            path: super::DIVERSIONS,
            text: "/bin/sh\n/bin/sh.distrib\ndash\n\
                   /usr/share/man/man1/sh.1.gz\n/usr/share/man/man1/sh.distrib.1.gz\ndash\n"
                .into(),
        }],
        // Its database of questions is made when one is asked.
        "debconf" => vec![],
        "debianutils" => vec![Effect::Shells, Effect::Alternative(which())],
        // It repairs what an earlier version did.
        "dpkg" => vec![],
        "libc-bin" => vec![copy("etc/nsswitch.conf", "usr/share/libc-bin/nsswitch.conf"), Effect::Libraries],
        // They restart services when they are upgraded.
        "libc6" | "libpam0g" => vec![],
        "libpam-modules" => {
            let passwords = "etc/security/opasswd";
            vec![empty(passwords), mode(passwords, root, 0o600), empty("etc/environment")]
        }
        "libpam-runtime" => vec![Effect::Pam],
        "login" => vec![empty("var/log/faillog"), empty("etc/subuid"), empty("etc/subgid")],
        // Passwords are in files of their own from the beginning.
        "passwd" => vec![],
        // It makes sure of what is so.
        "usr-is-merged" => vec![],
        "util-linux" => vec![Effect::Alternative(pager())],
        _ => return None,
    })
}

/// Packages whose folders of libraries are looked into when the system is made.
pub fn has_loader(package: &str) -> bool {
    ["libc-bin", "libc6"].contains(&package)
}

/// `which`, whose manual is in several languages.
fn which() -> Alternative {
    let slave = |language: &str| {
        let dot = if language.is_empty() { String::new() } else { format!("{language}/") };
        let page = |name: &str| format!("/usr/share/man/{dot}man1/{name}.1.gz");
        (page("which"), format!("which.{language}1.gz"), page("which.debianutils"))
    };
    let slaves = ["", "de", "es", "fr", "it", "ja", "pl", "sl"].map(slave).into();
    let (link, path) = ("/usr/bin/which".to_owned(), "/usr/bin/which.debianutils".to_owned());
    Alternative { link, name: "which".to_owned(), path, priority: 0, slaves }
}

fn pager() -> Alternative {
    let page = |name: &str| format!("/usr/share/man/man1/{name}.1.gz");
    Alternative {
        link: "/usr/bin/pager".to_owned(),
        name: "pager".to_owned(),
        path: "/bin/more".to_owned(),
        priority: 50,
        slaves: vec![(page("pager"), "pager.1.gz".to_owned(), page("more"))],
    }
}
