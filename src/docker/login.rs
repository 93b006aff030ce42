//! Logins at registries, for builders that pull from there.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;

use super::Error;

/// What Docker Hub is called in images' names, and where logins are kept.
const HUB: [&str; 2] = ["docker.io", "https://index.docker.io/v1/"];

/// What a builder shows one registry. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry, as images' names have it.
    pub registry: String,
    /// What it is shown.
    pub secret: Secret,
}

/// What is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A user and a password.
    Password(String, String),
    /// A refresh token.
    Identity(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.registry)
    }
}

/// `logins` as bollard takes them; `None` if there are none.
pub fn all(logins: &[Login]) -> Option<HashMap<String, DockerCredentials>> {
    let one = |login: &Login| {
        let [name, kept] = HUB;
        let registry = if login.registry == name { kept.to_owned() } else { login.registry.clone() };
        let credentials = match login.secret.clone() {
            Secret::Password(user, password) => {
                DockerCredentials { username: Some(user), password: Some(password), ..DockerCredentials::default() }
            }
            Secret::Identity(token) => DockerCredentials { identitytoken: Some(token), ..DockerCredentials::default() },
        };
        (registry, credentials)
    };
    (!logins.is_empty()).then(|| logins.iter().map(one).collect())
}

/// The same for the classic builder, which gets them in a header.
///
/// # Errors
/// [`Error::Login`]: engines read that header in base64's alphabet for URLs, bollard writes it in the other, and an engine
/// ignores what it cannot read. The alphabets differ in two characters, which text seldom needs.
pub fn in_header(logins: &[Login]) -> Result<Option<HashMap<String, DockerCredentials>>, Error> {
    let all = all(logins);
    let refused = || Error::Login { registries: logins.iter().map(|login| login.registry.clone()).collect() };
    let text = serde_json::to_string(&all).map_err(|_| refused())?;
    if STANDARD.encode(text).contains(['+', '/']) { Err(refused()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(registry: &str, password: &str) -> Login {
        Login { registry: registry.into(), secret: Secret::Password("u".into(), password.into()) }
    }

    #[test]
    fn docker_hub_is_called_as_docker_keeps_it() {
        let all = all(&[login("docker.io", "p"), login("quay.io", "q")]).unwrap();
        assert_eq!(all["https://index.docker.io/v1/"].password.as_deref(), Some("p"));
        assert_eq!(all["quay.io"].username.as_deref(), Some("u"));
        assert!(super::all(&[]).is_none());
    }

    #[test]
    fn what_engines_would_not_read_is_refused_without_telling_it() {
        let all = ["pppp?", "ppp?p", "pp?pp"].map(|password| in_header(&[login("quay.io", password)]));
        assert_eq!(
            all.iter().filter(|result| result.is_err()).count(),
            1,
            "one of three places needs the other character"
        );
        let error = all.into_iter().find_map(Result::err).unwrap().to_string();
        assert!(error.contains("quay.io") && !error.contains("pp"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", login("quay.io", "hidden")), "Login(quay.io)");
    }
}
