//! Which components of an inventory depend on which.

use std::collections::{BTreeMap, BTreeSet};

use super::{Component, Kind};

/// What may satisfy a dependency: conda's and pip's packages of one prefix serve each other, Debian's serve their like.
type Scope<'a> = (bool, &'a str);

fn scope(component: &Component) -> Scope<'_> {
    match component.kind {
        Kind::Deb => (true, ""),
        Kind::Conda | Kind::Pip => (false, &component.place),
    }
}

/// For each component, in their order, the indices of those it depends on. Names that are not installed are left out: a
/// virtual package of conda's, a feature that was not asked for.
pub fn dependencies(components: &[Component]) -> Vec<Vec<usize>> {
    let mut known: BTreeMap<(Scope<'_>, &str), Vec<usize>> = BTreeMap::new();
    for (index, component) in components.iter().enumerate() {
        known.entry((scope(component), &component.name)).or_default().push(index);
    }
    let of = |(index, component): (usize, &Component)| {
        let found = component.depends.iter().filter_map(|name| known.get(&(scope(component), name.as_str())));
        let found: BTreeSet<usize> = found.flatten().copied().filter(|other| *other != index).collect();
        found.into_iter().collect()
    };
    components.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_met_in_its_own_prefix() {
        let conda = |name: &str, prefix: &str, depends: &[&str]| {
            let url = "https://conda.anaconda.org/c/noarch/a-1-0.conda".parse().unwrap();
            let depends = depends.iter().map(ToString::to_string).collect();
            Component { depends, ..Component::conda(name, "1", "0", prefix, url) }
        };
        let libc = Component { depends: vec!["gcc".into()], ..Component::deb("libc6", "1", "amd64", "debian", "") };
        let all = [
            conda("a", "/one", &["b", "__glibc", "a"]),
            conda("b", "/one", &[]),
            conda("a", "/two", &["b"]),
            libc,
            Component::deb("gcc", "1", "i386", "debian", ""),
            conda("gcc", "/one", &["libc6"]),
            Component { depends: vec!["b".into()], ..Component::pip("p", "1", "/one") },
        ];
        assert_eq!(dependencies(&all), [vec![1], vec![], vec![], vec![4], vec![], vec![], vec![1]]);
    }
}
