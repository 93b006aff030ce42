//! Docker's registry as Debian has it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Docker's registry, on a free port. Ends with the test.
pub struct RealRegistry {
    process: Child,
    pub address: String,
}

#[allow(dead_code, reason = "each test binary uses what it needs")]
impl RealRegistry {
    pub fn start(dir: &Path) -> Self {
        Self::with(dir, "")
    }

    /// One that asks for a password; `users` is what `htpasswd -B` writes.
    pub fn guarded(dir: &Path, users: &str) -> Self {
        let file = dir.join("htpasswd");
        std::fs::write(&file, users).unwrap();
        Self::with(dir, &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display()))
    }

    fn with(dir: &Path, more: &str) -> Self {
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n{more}",
            dir.join("storage").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ' ']).next().unwrap().to_owned())
        });
        // Somebody must read what it writes, or it stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.unwrap() }
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
