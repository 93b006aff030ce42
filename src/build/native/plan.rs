//! Decides which packages share a layer, and in which order the layers lie.
//!
//! Clients pull layers they do not have. Measured on two years of pangeo-notebook's locks, nothing beat the plain rule:
//! the largest packages get a layer each, the others share two, one for `noarch` packages (which is the same for every
//! architecture) and one for the rest. Membership depends on sizes alone, never on a guess at what will change.
//!
//! Layers of single packages are ordered by name and not by size, so that a package that grows does not move others;
//! the shared layers, which change with almost every update, come last.

/// What the plan needs to know of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Bytes of its archive.
    pub size: u64,
    /// Whether it is the same package for every architecture.
    pub noarch: bool,
}

/// The layers of one environment, the lowest first, each a list of indices into the candidates, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    /// Indices into the candidates.
    pub layers: Vec<Vec<usize>>,
}

impl LayerPlan {
    /// Distributes `candidates` over at most `limit` layers (at least one).
    pub fn new(candidates: &[Candidate], limit: usize) -> Self {
        let mut by_size: Vec<usize> = (0..candidates.len()).collect();
        by_size.sort_by(|&a, &b| {
            let (a, b) = (&candidates[a], &candidates[b]);
            b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name))
        });
        let by_name = |indices: &mut Vec<usize>| indices.sort_by(|&a, &b| candidates[a].name.cmp(&candidates[b].name));
        let mut rest = by_size.split_off(by_size.len().min(limit.saturating_sub(2)));
        by_name(&mut by_size);
        by_name(&mut rest);
        let (noarch, arch): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|&index| limit >= 2 && candidates[index].noarch);
        let mut layers: Vec<_> = by_size.into_iter().map(|index| vec![index]).collect();
        layers.extend([noarch, arch].into_iter().filter(|layer| !layer.is_empty()));
        Self { layers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(packages: &[(&str, u64, bool)]) -> Vec<Candidate> {
        packages.iter().map(|&(name, size, noarch)| Candidate { name: name.into(), size, noarch }).collect()
    }

    fn names(packages: &[(&str, u64, bool)], limit: usize) -> Vec<Vec<String>> {
        let candidates = candidates(packages);
        let plan = LayerPlan::new(&candidates, limit);
        plan.layers.iter().map(|layer| layer.iter().map(|&index| candidates[index].name.clone()).collect()).collect()
    }

    const PACKAGES: [(&str, u64, bool); 6] = [
        ("python", 30, false),
        ("numpy", 80, false),
        ("zlib", 1, false),
        ("dask", 10, true),
        ("attrs", 1, true),
        ("bzip2", 2, false),
    ];

    #[test]
    fn the_largest_have_a_layer_each() {
        assert_eq!(names(&PACKAGES, 4), [vec!["numpy"], vec!["python"], vec!["attrs", "dask"], vec!["bzip2", "zlib"]]);
        assert_eq!(names(&PACKAGES, 2), [vec!["attrs", "dask"], vec!["bzip2", "numpy", "python", "zlib"]]);
        assert_eq!(names(&PACKAGES, 1).len(), 1);
        assert_eq!(names(&PACKAGES, 0).len(), 1);
        assert!(names(&[], 4).is_empty());
    }

    #[test]
    fn the_limit_holds_and_every_package_is_there_once() {
        for limit in 1..10 {
            let layers = names(&PACKAGES, limit);
            assert!(layers.len() <= limit, "{limit}");
            let mut all: Vec<_> = layers.into_iter().flatten().collect();
            all.sort();
            assert_eq!(all, ["attrs", "bzip2", "dask", "numpy", "python", "zlib"]);
        }
    }

    #[test]
    fn a_package_that_grows_moves_no_layer_of_others() {
        let mut grown = PACKAGES;
        grown[0].1 = 300;
        assert_eq!(names(&PACKAGES, 4), names(&grown, 4));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter() {
        let mut turned = PACKAGES;
        turned.reverse();
        assert_eq!(names(&PACKAGES, 4), names(&turned, 4));
    }
}
