//! A machine with a project whose packages are of all kinds, and a server that has those.

use serde_json::Value;

use crate::common::pypi::Wheel;
pub use crate::common::python::{Python, python};
use crate::common::{Built, CONDA_FORGE, Pkg, Ran, Sandbox, Server, TinyChannel};

const WHEELS: &str = "https://wheels.example.org/";
pub const REPOSITORY: &str = "some/tiny";

/// What is done to a record.
pub type Change<'a> = &'a dyn Fn(&mut Value);

/// A machine with a project, and a server that has its packages.
pub struct World {
    pub sandbox: Sandbox,
    pub server: Server,
}

impl World {
    pub fn new(python: &Python) -> Self {
        Self::sharing(python, "ns/__init__.py")
    }

    /// With a wheel and a package of conda's that both have the module `shared`.
    pub fn sharing(python: &Python, shared: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.channel(&channel_sharing(python, "2024.1", shared));
        let wheel = Wheel::new("py-tool", "1.0").file("py_tool.py", "x = 1\n").file(shared, "y = 2\n");
        sandbox.write(&format!("channel/wheels/{}", wheel.file_name()), &wheel.bytes());
        let locked = wheel.locked(rattler_conda_types::Subdir::Linux64, WHEELS);
        let line = format!("pip:\n    - py-tool @ {}#sha256={}", locked.url, locked.sha256.unwrap());
        let names = ["python", "hello", "spaced", "talks", "libfoo", "certs", "alpha", "beta", "gamma", &line];
        sandbox.environment("tiny", &names);
        let settings = sandbox.read("project/esker.yml");
        sandbox.write("project/esker.yml", format!("{settings}layers: 4\n").as_bytes());
        let server = Server::start(sandbox.path("channel"));
        let world = Self { sandbox, server };
        world.ok(&["lock"]);
        world
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        let server = self.server.url();
        let mirrors = format!("{CONDA_FORGE}={server}\n{WHEELS}={server}wheels/");
        Ran::new(self.sandbox.command(arguments).env("ESKER_MIRROR", mirrors).output().unwrap())
    }

    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
        ran
    }

    pub fn build(&self, arguments: &[&str]) -> Built {
        self.build_image("tiny", arguments)
    }

    pub fn build_image(&self, image: &str, arguments: &[&str]) -> Built {
        let before = self.server.requests().len();
        let ran = self.ok(&[&["build", image, "--json"], arguments].concat());
        let requests = self.server.requests().split_off(before);
        Built::new(ran, &requests, &[".conda", ".bz2", ".whl"])
    }

    /// What the image would be on a machine that has nothing and is told of nothing.
    pub fn digest_without(&self) -> String {
        let (cache, output) = (self.sandbox.path("another-cache"), self.oci("another"));
        let built = self.build(&["--cache-dir", cache.to_str().unwrap(), "--output", &output]);
        assert!(built.report["downloaded_packages"].as_u64().unwrap() > 5);
        fs_err::remove_dir_all(cache).unwrap();
        built.digest().to_owned()
    }

    pub fn oci(&self, name: &str) -> String {
        format!("oci:{}", self.sandbox.path(name).display())
    }

    /// Another machine: nothing was ever built or downloaded.
    pub fn fresh(&self) {
        for folder in ["cache", "project/.esker", "out"] {
            drop(fs_err::remove_dir_all(self.sandbox.path(folder)));
        }
    }

    /// `certs` has a new version, and the lock has it.
    pub fn update(&self, python: &Python) {
        channel(python, "2025.1").write(self.sandbox.path("channel"));
        self.ok(&["lock", "--update", "certs"]);
        let lock = self.sandbox.read("project/tiny/conda-lock.yml");
        assert!(lock.contains("certs-2025.1-0.conda") && !lock.contains("certs-2024.1"), "{lock}");
    }
}

/// Packages of all kinds: a Python, `noarch: python` with byte code and a command, with placeholders, a link script, and
/// some to share a layer with. `certs` is what changes.
pub fn channel(python: &Python, certs: &str) -> TinyChannel {
    channel_sharing(python, certs, "ns/__init__.py")
}

/// With the module `shared`, which the wheel has as well.
pub fn channel_sharing((version, program): &Python, certs: &str, shared: &str) -> TinyChannel {
    let spaced = Pkg::new("spaced", "1.0").noarch_python().depends("python");
    let spaced = spaced.file(&format!("site-packages/{shared}"), "y = 2\n").file("site-packages/ns/own.py", "");
    let python = Pkg::new("python", &format!("{version}.0"))
        .native()
        .build("h1_0_cpython", 0)
        .executable(&format!("bin/python{version}"), format!("#!/bin/sh\nexec '{program}' \"$@\"\n"));
    let hello = Pkg::new("hello", "1.0")
        .entry_point("hello = hello:main")
        .depends("python")
        .file("site-packages/hello/__init__.py", "def main():\n    print('hello')\n");
    let talks = Pkg::new("talks", "1.0")
        .native()
        .file("bin/.talks-post-link.sh", "#!/bin/sh\necho hi >> $PREFIX/.messages.txt\n")
        .file("share/talks", "talk ".repeat(2000));
    let libfoo = Pkg::new("libfoo", "2.1")
        .native()
        .binary_prefix("lib/libfoo.so.2.1", "{prefix}/share/foo")
        .symlink("lib/libfoo.so", "libfoo.so.2.1")
        .text_prefix("etc/foo.conf", "root={prefix}\n");
    let channel = TinyChannel::new()
        .package(python)
        .package(hello)
        .package(talks)
        .package(spaced)
        .package(libfoo)
        .package(Pkg::new("pip", "24.0").depends("python").file("share/pip", "pretend\n"))
        .package(Pkg::new("certs", certs).file("ssl/cacert.pem", certs.repeat(100)));
    ["alpha", "beta", "gamma"].into_iter().fold(channel, |channel, name| {
        channel.package(Pkg::new(name, "1.0").file(&format!("share/{name}"), name.repeat(500)).file("share/same", name))
    })
}

pub fn name(registry: &str, tag: &str) -> String {
    format!("{registry}/{REPOSITORY}:{tag}")
}
