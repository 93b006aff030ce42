//! Templates: `ImageSpec` and `Lock` to files.

use indexmap::IndexMap;

/// What esker adds to an image besides packages.
#[derive(Clone, Debug)]
pub struct ImageContent {
    /// Files to add.
    pub files: Vec<ContentFile>,
    /// Environment variables.
    pub env: IndexMap<String, String>,
    /// The entry point.
    pub entrypoint: Vec<String>,
    /// The command.
    pub cmd: Vec<String>,
    /// Labels.
    pub labels: IndexMap<String, String>,
    /// Ports, as `8888/tcp`.
    pub exposed_ports: Vec<String>,
    /// The user, by number: `1000:1000`.
    pub user: String,
    /// The working directory.
    pub workdir: String,
    /// The account to add.
    pub account: Account,
}

/// A file to add.
#[derive(Clone, Debug)]
pub struct ContentFile {
    /// Its path, relative to the root.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Numbers of user and group.
    pub owner: (u64, u64),
}

/// The account that notebooks run under.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u64,
    /// The number of its group, which has the same name.
    pub gid: u64,
    /// Its home directory, absolute.
    pub home: String,
    /// Its shell, absolute.
    pub shell: String,
}
