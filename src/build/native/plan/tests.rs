use proptest::prelude::*;

use super::*;

fn package(name: &str, size: u64, noarch: bool) -> Candidate {
    Candidate { name: name.into(), id: format!("{name}-id"), size, built: 0, noarch, pins: vec![] }
}

fn packages() -> Vec<Candidate> {
    [
        ("python", 30, false),
        ("numpy", 80, false),
        ("zlib", 1, false),
        ("dask", 10, true),
        ("attrs", 1, true),
        ("bzip2", 2, false),
    ]
    .map(|(name, size, noarch)| package(name, size, noarch))
    .into()
}

fn names(candidates: &[Candidate], limit: usize, parent: &[Group]) -> Vec<Vec<String>> {
    let plan = LayerPlan::new(candidates, limit, parent);
    plan.layers.iter().map(|layer| layer.iter().map(|&index| candidates[index].name.clone()).collect()).collect()
}

#[test]
fn the_largest_have_a_layer_each() {
    assert_eq!(
        names(&packages(), 4, &[]),
        [vec!["numpy"], vec!["python"], vec!["attrs", "dask"], vec!["bzip2", "zlib"]]
    );
    assert_eq!(names(&packages(), 2, &[]), [vec!["attrs", "dask"], vec!["bzip2", "numpy", "python", "zlib"]]);
    assert_eq!(names(&packages(), 1, &[]).len(), 1);
    assert_eq!(names(&packages(), 0, &[]).len(), 1);
    assert!(names(&[], 4, &[]).is_empty());
}

#[test]
fn layers_lie_by_when_they_were_built() {
    let mut packages = packages();
    packages[0].built = 7;
    assert_eq!(names(&packages, 4, &[])[..2], [vec!["numpy"], vec!["python"]]);
    packages[1].built = 8;
    assert_eq!(names(&packages, 4, &[])[..2], [vec!["python"], vec!["numpy"]], "what changed went above");
}

#[test]
fn packages_of_one_release_share_a_layer() {
    let mut packages = packages();
    packages[2].pins = vec!["bzip2".into(), "not-here".into()];
    packages[2].size = 90;
    assert_eq!(names(&packages, 4, &[])[..2], [vec!["bzip2", "zlib"], vec!["numpy"]]);
    packages[5].noarch = true;
    assert_eq!(names(&packages, 4, &[])[..2], [vec!["numpy"], vec!["zlib"]], "one is for all architectures");
    packages[5] = package("bzip2", 2, false);
    packages[2].size = 1;
    assert_eq!(names(&packages, 4, &[])[3], ["bzip2", "zlib"], "too small for a layer of its own");
}

#[test]
fn a_layer_of_the_parent_serves_the_child() {
    let packages = packages();
    let parent: Vec<Candidate> = packages.iter().filter(|p| p.name != "numpy").cloned().collect();
    let plan = LayerPlan::new(&parent, 3, &[]);
    assert_eq!(names(&parent, 3, &[]), [vec!["python"], vec!["attrs", "dask"], vec!["bzip2", "zlib"]]);
    let child = names(&packages, 6, &plan.groups(&parent));
    assert_eq!(child, [vec!["attrs", "dask"], vec!["bzip2", "zlib"], vec!["numpy"], vec!["python"]]);
    let mut other = packages.clone();
    other[2].id = "another version".into();
    let child = names(&other, 6, &plan.groups(&parent));
    assert_eq!(child, [vec!["attrs", "dask"], vec!["bzip2"], vec!["numpy"], vec!["python"], vec!["zlib"]]);
}

/// Packages with sizes, times and requirements of all kinds; names and ids are unique.
fn any_packages() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0_u64..50, 0_u64..5, any::<bool>(), prop::collection::vec(0_usize..30, 0..3));
    prop::collection::vec(one, 0..30).prop_map(|all| {
        let packages = all.into_iter().enumerate().map(|(index, (size, built, noarch, pins))| Candidate {
            built,
            pins: pins.into_iter().map(|pin| format!("p{pin:02}")).collect(),
            ..package(&format!("p{index:02}"), size, noarch)
        });
        packages.collect()
    })
}

/// The layers of a plan by what is in them, in their order.
fn groups(candidates: &[Candidate], limit: usize, parent: &[Group]) -> Vec<Group> {
    LayerPlan::new(candidates, limit, parent).groups(candidates)
}

proptest! {
    #[test]
    fn every_package_is_there_once_and_the_limit_holds(packages in any_packages(), parent in any_packages(), limit in 0_usize..12) {
        let above = groups(&parent, 6, &[]);
        let plan = LayerPlan::new(&packages, limit, &above);
        prop_assert!(plan.layers.len() <= limit.max(1));
        let mut all: Vec<usize> = plan.layers.iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..packages.len()).collect::<Vec<_>>());
        prop_assert!(plan.layers.iter().all(|layer| !layer.is_empty()));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        (packages, shuffled) in any_packages().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        limit in 1_usize..12,
    ) {
        prop_assert_eq!(groups(&packages, limit, &[]), groups(&shuffled, limit, &[]));
    }

    /// Whatever has a layer of its own may grow: nothing else moves.
    #[test]
    fn a_package_that_grows_moves_no_layer_of_others(packages in any_packages(), limit in 3_usize..12, by in 1_u64..99) {
        let before = LayerPlan::new(&packages, limit, &[]);
        let Some(own) = before.layers.iter().find(|layer| layer.len() == 1) else { return Ok(()) };
        let alone = own[0];
        let is_shared_one = before.layers.iter().rev().take(2).any(|layer| layer[..] == [alone]);
        let mut grown = packages.clone();
        grown[alone].size += by;
        prop_assert!(is_shared_one || LayerPlan::new(&grown, limit, &[]) == before);
    }

    /// A child with room for it has every layer of its parent whose packages it has.
    #[test]
    fn a_child_has_its_parent_s_layers(parent in any_packages(), changed in prop::collection::btree_set(0_usize..30, 0..4)) {
        let above = groups(&parent, 8, &[]);
        let mut child = parent.clone();
        for index in changed.iter().filter(|&&index| index < parent.len()) {
            child[*index].id.push_str(" of another version");
        }
        child.push(package("own", 1000, false));
        let layers = groups(&child, 64, &above);
        let ids: Group = child.iter().map(|package| package.id.clone()).collect();
        for group in above.iter().filter(|group| group.is_subset(&ids)) {
            prop_assert!(layers.contains(group), "{:?} is not in {:?}", group, layers);
        }
    }

    /// What the old and the new image have in common lies in the same order in both.
    #[test]
    fn layers_that_stay_keep_their_order(packages in any_packages(), changed in prop::collection::btree_set(0_usize..30, 0..6)) {
        let mut updated = packages.clone();
        for index in changed.iter().filter(|&&index| index < packages.len()) {
            updated[*index].id.push_str(" of another version");
            updated[*index].built = 9;
        }
        let (old, new) = (groups(&packages, 12, &[]), groups(&updated, 12, &[]));
        let kept: Vec<&Group> = old.iter().filter(|group| new.contains(group)).collect();
        let again: Vec<&Group> = new.iter().filter(|group| old.contains(group)).collect();
        prop_assert_eq!(kept, again);
    }
}
