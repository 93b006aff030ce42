//! What known link scripts do, done without running them.
//!
//! A script is known by its package, its version and its very words, comments aside: another one may do something else.
//! What is made for it belongs to the package's part of the layer, and as with conda to no record.

use serde::{Deserialize, Serialize};

use super::package::Info;

/// A file that a link script would have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Jupyter finds kernels of conda environments: `nb_conda_kernels.install --enable` where there is no such file yet.
    CondaKernels,
}

impl Effect {
    /// The file, below the prefix.
    pub const fn path(self) -> &'static str {
        match self {
            Self::CondaKernels => "etc/jupyter/jupyter_config.json",
        }
    }

    /// What is in it.
    pub const fn content(self) -> &'static str {
        match self {
            Self::CondaKernels => {
                "{\n  \"JupyterApp\": {\n    \"kernel_spec_manager_class\": \"nb_conda_kernels.CondaKernelSpecManager\"\n  }\n}"
            }
        }
    }
}

/// A link script whose effect is known.
struct Known {
    package: &'static str,
    /// What its version begins with.
    version: &'static str,
    /// Its lines, without comments.
    script: &'static [&'static str],
    effect: fn(&Info) -> Option<Vec<Effect>>,
}

const KNOWN: [Known; 2] = [
    Known {
        package: "graphviz",
        version: "",
        script: &["if ! compgen -G $PREFIX/lib/graphviz/config* > /dev/null; then", "$PREFIX/bin/dot -c || true", "fi"],
        // Packages that were built on a machine of their own kind bring the list of plugins.
        effect: |info| info.paths.iter().any(|listed| is_plugin_list(listed.path.as_str())).then(Vec::new),
    },
    Known {
        package: "nb_conda_kernels",
        version: "2.5.",
        script: &[
            "{",
            "\"${PREFIX}/bin/python\" -m nb_conda_kernels.install --enable --prefix=\"${PREFIX}\"",
            "} >>\"$PREFIX/.messages.txt\" 2>&1",
        ],
        effect: |_| Some(vec![Effect::CondaKernels]),
    },
];

fn is_plugin_list(path: &str) -> bool {
    path.strip_prefix("lib/graphviz/").is_some_and(|file| file.starts_with("config") && !file.contains('/'))
}

/// What `script` of the package `info` comes to; `None` if that is not known.
pub fn known(info: &Info, script: &str) -> Option<Vec<Effect>> {
    let (name, version) = (info.index.name.as_normalized(), info.index.version.to_string());
    let lines: Vec<&str> =
        script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let known = KNOWN
        .iter()
        .find(|known| known.package == name && version.starts_with(known.version) && known.script == lines)?;
    (known.effect)(info)
}
