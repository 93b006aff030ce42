//! Credentials for channels: the file that rattler and pixi write, and `.netrc`. No keyring: it would need a session bus
//! and asks questions, and esker runs where nobody answers.

use std::path::Path;
use std::sync::Arc;

use rattler_networking::authentication_storage::StorageBackend;
use rattler_networking::authentication_storage::backends::file::{FileStorage, FileStorageError};
use rattler_networking::authentication_storage::backends::memory::MemoryStorage;
use rattler_networking::{Authentication, AuthenticationStorage};

use super::{Error, Options};

/// The credentials of `options`, the file before `.netrc`.
pub(super) fn storage(options: &Options) -> Result<AuthenticationStorage, Error> {
    let mut storage = AuthenticationStorage::empty();
    if let Some(path) = &options.auth_file {
        let file = FileStorage::from_path(path.clone())
            .map_err(|error| Error::Credentials { path: path.clone(), reason: reason(&error) })?;
        storage.add_backend(Arc::new(file));
    }
    if let Some(path) = options.netrc.as_deref().filter(|path| path.exists()) {
        storage.add_backend(Arc::new(netrc(path)?));
    }
    Ok(storage)
}

/// What is wrong with rattler's file. serde_json quotes what it does not expect, which may be a token.
fn reason(error: &FileStorageError) -> String {
    match error {
        FileStorageError::IOError(error) => error.to_string(),
        FileStorageError::JSONError(_, error) => {
            let (line, column) = (error.line(), error.column());
            format!(r#"line {line}, column {column} is not `{{"HOST": {{"BearerToken": "TOKEN"}}}}` or the like"#)
        }
    }
}

fn netrc(path: &Path) -> Result<MemoryStorage, Error> {
    let text = fs_err::read_to_string(path)
        .map_err(|error| Error::Credentials { path: path.to_path_buf(), reason: error.to_string() })?;
    let storage = MemoryStorage::with_name(path.display().to_string());
    for (host, authentication) in parse_netrc(&text) {
        storage
            .store(&host, &authentication)
            .map_err(|error| Error::Credentials { path: path.to_path_buf(), reason: error.to_string() })?;
    }
    Ok(storage)
}

/// The `machine` entries of a `.netrc` that have a password; `default` and macros are not for channels.
fn parse_netrc(text: &str) -> Vec<(String, Authentication)> {
    let mut words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let mut machines: Vec<(String, String, Option<String>)> = Vec::new();
    while let Some(word) = words.next() {
        match (word, machines.last_mut()) {
            ("machine", _) => machines.push((words.next().unwrap_or_default().into(), String::new(), None)),
            // What follows belongs to no host: keep it from the last machine.
            ("default" | "macdef", _) => machines.push((String::new(), String::new(), None)),
            ("login", Some(machine)) => machine.1 = words.next().unwrap_or_default().into(),
            ("password", Some(machine)) => machine.2 = words.next().map(str::to_owned),
            _ => {}
        }
    }
    machines
        .into_iter()
        .filter(|(host, ..)| !host.is_empty())
        .filter_map(|(host, username, password)| {
            Some((host, Authentication::BasicHTTP { username, password: password? }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn netrc_entries_keep_to_their_machine() {
        let text =
            "# c\nmachine a.example login u password p\nmachine b.example\n  login v\ndefault login d password e\n";
        let found = parse_netrc(text);
        let expected = Authentication::BasicHTTP { username: "u".into(), password: "p".into() };
        assert_eq!(found, [("a.example".to_owned(), expected)]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(machine|login|password|default|macdef|account|[ \n#a-zé]){0,30}") {
            let found = parse_netrc(&text);
            prop_assert!(found.iter().all(|(host, _)| !host.is_empty()));
        }
    }
}
