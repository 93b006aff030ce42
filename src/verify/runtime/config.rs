//! What an image's configuration says about running it.

use oci_spec::image::ImageConfiguration;

/// The user and group that hubs run images with, whatever the image says (KubeSpawner's default uid).
pub const HUB_USER: (u32, u32) = (1000, 1000);

/// The part of an OCI image configuration that a runtime needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Arguments that are always there.
    pub entrypoint: Vec<String>,
    /// Arguments unless there are others.
    pub cmd: Vec<String>,
    /// Environment variables, in the image's order.
    pub env: Vec<(String, String)>,
    /// Directory that programs start in.
    pub working_dir: String,
    /// `User`, as written.
    pub user: String,
}

impl ContainerConfig {
    /// Reads the configuration of an image.
    pub fn new(image: &ImageConfiguration) -> Self {
        let config = image.config().clone().unwrap_or_default();
        let split = |variable: &String| {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            (name.to_owned(), value.to_owned())
        };
        Self {
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().iter().flatten().map(split).collect(),
            working_dir: config.working_dir().clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned()),
            user: config.user().clone().unwrap_or_default(),
        }
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `User` means root.
    pub fn is_root(&self) -> bool {
        ["", "0", "root"].contains(&self.user.split(':').next().unwrap_or_default())
    }

    /// The user and group ids that `User` means in an image with this `/etc/passwd`, [`HUB_USER`] where it means root:
    /// no program of an image is ever run as root.
    pub fn owner(&self, passwd: &str) -> (u32, u32) {
        let (user, group) = self.user.split_once(':').unwrap_or((&self.user, ""));
        let entry = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.len() > 3 && (fields[0] == user || fields[2] == user));
        let field = |index: usize| entry.as_ref().and_then(|fields| fields[index].parse().ok());
        let Some(uid) = user.parse().ok().or_else(|| field(2)).filter(|&uid: &u32| uid != 0) else { return HUB_USER };
        (uid, group.parse().ok().or_else(|| field(3)).unwrap_or(uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_and_root_is_replaced() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\njovyan:x:1001:100::/home/jovyan:/bin/bash\n";
        for (user, expected) in [
            ("", HUB_USER),
            ("root", HUB_USER),
            ("0:0", HUB_USER),
            ("nobody", HUB_USER),
            ("jovyan", (1001, 100)),
            ("1001", (1001, 100)),
            ("1001:7", (1001, 7)),
            ("2000", (2000, 2000)),
        ] {
            let config = ContainerConfig { user: user.to_owned(), ..ContainerConfig::default() };
            assert_eq!(config.owner(passwd), expected, "{user}");
        }
    }
}
