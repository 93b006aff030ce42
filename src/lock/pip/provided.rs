//! What pip finds installed: the Python packages that conda brings.
//!
//! A conda package counts as the Python package of its name if it depends on `python`: conda's `zstd` is a C library,
//! PyPI's a binding. Most names are the same once normalised; [`ALIASES`] lists where they are known to differ.

use std::collections::BTreeMap;

use super::super::{LockedPackage, Manager};
use super::pip_name;

/// conda-forge's name, and what its package installs in PyPI's.
const ALIASES: &[(&str, &[&str])] = &[
    ("brotli-python", &["brotli"]),
    ("dask-core", &["dask"]),
    ("geopandas-base", &["geopandas"]),
    ("iris", &["scitools-iris"]),
    ("matplotlib-base", &["matplotlib"]),
    ("msgpack-python", &["msgpack"]),
    ("opencv", &["opencv-python", "opencv-python-headless"]),
    ("py-opencv", &["opencv-python", "opencv-python-headless"]),
    ("py-xgboost", &["xgboost"]),
    ("pyarrow-core", &["pyarrow"]),
    ("pyqt", &["pyqt5"]),
    ("pytables", &["tables"]),
    ("python-blosc", &["blosc"]),
    ("python-build", &["build"]),
    ("python-duckdb", &["duckdb"]),
    ("python-eccodes", &["eccodes"]),
    ("python-graphviz", &["graphviz"]),
    ("python-kaleido", &["kaleido"]),
    ("python-stratify", &["stratify"]),
    ("python-tzdata", &["tzdata"]),
    ("python-xxhash", &["xxhash"]),
    ("pytorch", &["torch"]),
    ("ray-core", &["ray"]),
    ("seaborn-base", &["seaborn"]),
    ("tensorflow-base", &["tensorflow"]),
];

/// Versions that conda provides, by PyPI's normalised name.
pub(super) fn provided<'a>(
    packages: impl IntoIterator<Item = &'a LockedPackage>,
) -> BTreeMap<String, &'a LockedPackage> {
    let is_python =
        |package: &&LockedPackage| package.manager == Manager::Conda && package.dependencies.contains_key("python");
    let mut provided = BTreeMap::new();
    for package in packages.into_iter().filter(is_python) {
        match ALIASES.iter().find(|(conda, _)| *conda == package.name) {
            // What says that it is the Python package wins over what only has its name.
            Some((_, names)) => provided.extend(names.iter().map(|name| ((*name).to_owned(), package))),
            None => {
                provided.entry(pip_name(&package.name)).or_insert(package);
            }
        }
    }
    provided
}

#[cfg(test)]
mod tests {
    use super::super::super::diff::tests::package;
    use super::*;

    #[test]
    fn python_packages_are_known_by_pypis_names() {
        let conda = |text: &str, needs: &str| {
            let mut conda = package(rattler_conda_types::Subdir::Linux64, text);
            conda.dependencies = [(needs.to_owned(), String::new())].into_iter().collect();
            conda
        };
        let packages = [
            conda("graphviz 11.0 0", "libgd"),
            conda("python-graphviz 0.20 0", "python"),
            conda("pytorch 2.5.1 0", "python"),
            conda("ruamel.yaml 0.18 0", "python"),
            conda("zstd 1.5.6 0", "libzlib"),
            conda("matplotlib 3.9 0", "python"),
            conda("matplotlib-base 3.9.1 0", "python"),
        ];
        let provided = provided(&packages);
        let found: Vec<_> = provided.iter().map(|(name, package)| format!("{name}={}", package.version)).collect();
        assert_eq!(found, ["graphviz=0.20", "matplotlib=3.9.1", "ruamel-yaml=0.18", "torch=2.5.1"]);
    }
}
