use proptest::prelude::*;

use super::*;
use crate::project::ChangeKind;

fn parse(text: &str) -> Result<Config, Error> {
    Config::from_document(&Document::parse(Path::new("f"), text)?)
}

#[test]
fn everything_there_is() {
    let config = parse(
        "registry: quay.io/example\ncache-limit: 20GB\nbase: {linux/amd64: 'oci:base', linux/arm64: 'rootfs:arm.tar'}\n\
         platforms: [linux/arm64, linux/amd64]\nlock-subdirs: [linux-64, linux-aarch64, osx-64]\nroot: none\n\
         mirrors:\n  https://conda.anaconda.org/: http://localhost:8080/\nlayers: 40\nenv: {A: 1}\nlabels: {a.b/c: x}\ninfo: {kernel: uname -a}\n\
         apt: skip\napt-snapshot: 2026-11-01\nskip-maintainer-scripts: [man-db]\nskip-link-scripts: [graphviz]\n\
         strip: ['*.h']\nrelock: requested\nrefresh: [openssl]\n\
         prefer-parent: false\nsbom: false\ncache-from: ['quay.io/a/b:1']\nmin-age: 7 days\nmin-age-exempt: [certifi]\ndeny: [downgrade, removal]\nallow: [gcsfs]\nimages:\n  a:\n  b: {}\n  c: {parent: a, platforms: [linux/amd64]}\n",
    )
    .unwrap();
    assert_eq!(config.registry.as_deref(), Some("quay.io/example"));
    assert_eq!(config.cache_limit, Some(Size(20_000_000_000)));
    assert!(matches!(config.root, Root::None));
    assert_eq!(config.defaults.mirrors[0].to_string(), "https://conda.anaconda.org/=http://localhost:8080/");
    assert_eq!(config.defaults.layers, Some(40));
    assert_eq!(config.defaults.env["A"], "1");
    assert_eq!(config.defaults.info["kernel"], "uname -a");
    assert_eq!(config.defaults.apt, Some(AptPolicy::Skip));
    assert_eq!(config.defaults.strip.as_ref().unwrap().texts(), ["*.h"]);
    assert_eq!(config.defaults.apt_snapshot.map(|snapshot| snapshot.to_string()).as_deref(), Some("20261101T000000Z"));
    assert_eq!(config.defaults.skip_maintainer_scripts, ["man-db"]);
    assert_eq!(config.defaults.relock, Some(RelockPolicy::Requested));
    assert_eq!(
        (&config.defaults.refresh[..], config.defaults.prefer_parent),
        (&["openssl".to_owned()][..], Some(false))
    );
    assert_eq!(config.defaults.min_age, Some("1 week".parse().unwrap()));
    assert_eq!(config.defaults.min_age_exempt, ["certifi"]);
    assert_eq!(config.defaults.sbom, Some(false));
    assert_eq!(config.defaults.cache_from[0].to_string(), "quay.io/a/b:1");
    assert_eq!(config.denied.kinds, [ChangeKind::Downgrade, ChangeKind::Removal]);
    assert_eq!(config.denied.allow, ["gcsfs"]);
    assert_eq!(config.images.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    let parent = config.images["c"].parent.as_ref().unwrap();
    assert_eq!((parent.value.as_str(), parent.place.to_string().as_str()), ("a", "f:30:15"));
    let Some(BaseSource::PerPlatform(bases)) = config.defaults.base else { panic!("a map") };
    assert_eq!(bases[&Platform::LinuxArm64].to_string(), "rootfs:arm.tar");
}

#[test]
fn a_prefix_may_have_several_mirrors() {
    let config = parse("mirrors:\n  https://a/: [http://b/, 'file:///c d/', https://a/]\n").unwrap();
    let mirrors: Vec<_> = config.defaults.mirrors.iter().map(ToString::to_string).collect();
    assert_eq!(mirrors, ["https://a/=http://b/", "https://a/=file:///c%20d/", "https://a/=https://a/"]);
}

#[test]
fn nothing_is_fine() {
    assert!(parse("# no settings\n").unwrap().images.is_empty());
    assert!(matches!(parse("root:\n").unwrap().root, Root::None));
}

#[test]
fn faults_name_their_place() {
    for (text, expected) in [
        ("image: {}", "f:1:1: unknown key `image`; did you mean `images`?"),
        ("images: {a: {parnt: b}}", "f:1:14: unknown key `parnt`; did you mean `parent`?"),
        ("images: [a]", "f:1:9: `images` must be a mapping (`key: value`), not a list"),
        ("images: {a: 1}", "f:1:13: `a` must be a mapping (`key: value`), not a number"),
        ("images:\n  a: {}\n  a: {}", "f:3:3: duplicate key `a`, first given at f:2:3; keep one of them"),
        (
            "images: {a: {parent: 1}}",
            "f:1:22: `parent` must be text (put it in quotes if it is meant as such), not a number",
        ),
        (
            "registry: https://quay.io/x",
            "f:1:11: `https://quay.io/x` cannot be `registry`: write the registry's host and a namespace, as `quay.io/example`, without a scheme or a tag",
        ),
        (
            "registry: quay.io/x:latest",
            "f:1:11: `quay.io/x:latest` cannot be `registry`: write the registry's host and a namespace, as `quay.io/example`, without a scheme or a tag",
        ),
        ("base: 'oci:'", "f:1:7: invalid `base`"),
        ("base: {linux/arm: x}", "f:1:8: unknown platform `linux/arm`; did you mean `linux/arm64`?"),
        ("platforms: []", "f:1:12: `a list` cannot be `platforms`: list at least one platform, or remove the key"),
        ("platforms: [linux-64]", "f:1:13: unknown platform `linux-64`; did you mean `linux/amd64`?"),
        (
            "platforms: [linux/arm64, linux/arm64/v8]",
            "f:1:26: `linux/arm64/v8` cannot be `platforms`: it is listed twice; remove one",
        ),
        ("lock-subdirs: [linux/amd64]", "f:1:16: unknown subdir `linux/amd64`; did you mean `linux-64`?"),
        ("mirrors: {https://a/: b}", "f:1:11: invalid entry of `mirrors`"),
        (
            "mirrors: {https://a/: []}",
            "f:1:23: `a list` cannot be `mirrors`: list at least one URL, or remove the entry",
        ),
        (
            "cache-limit: much",
            "f:1:14: `much` cannot be `cache-limit`: write a number with a unit, such as `20GB` or `500 MiB`",
        ),
        (
            "strip: [a, /b]",
            "f:1:12: `/b` cannot be `strip`: write a pattern of files below the prefix, as `*.a` or `share/doc/**/*.html`",
        ),
        (
            "cache-from: [a b]",
            "f:1:14: `a b` cannot be `cache-from`: write an image in a registry, as `quay.io/example/nb:latest`",
        ),
        ("layers: 2", "f:1:9: `2` cannot be `layers`: write a number from 3 to 110"),
        ("layers: 111", "f:1:9: `111` cannot be `layers`: write a number from 3 to 110"),
        ("layers: many", "f:1:9: `many` cannot be `layers`: write a number from 3 to 110"),
        ("layers: [1]", "f:1:9: `layers` must be a number, not a list"),
        (
            "deny: [downgrades]",
            "f:1:8: `downgrades` cannot be `deny`: expected one of `downgrade`, `removal`, `source`, `addition`, `upgrade`, `rebuild`",
        ),
        ("relock: all", "f:1:9: `all` cannot be `relock`: write `minimal`, `requested` or `fresh`"),
        (
            "min-age: 1 month",
            "f:1:10: `1 month` cannot be `min-age`: write an age in weeks, days or hours, such as `7 days` or `36h`",
        ),
        ("prefer-parent: 1", "f:1:16: `prefer-parent` must be `true` or `false`, not a number"),
        ("apt: always", "f:1:6: `always` cannot be `apt`: write `install`, `refuse` or `skip`"),
        ("env: {1A: x}", "f:1:7: `1A` cannot be `env`: names of variables have only letters, digits and `_`"),
        (
            "info: {a b: x}",
            "f:1:8: `a b` cannot be `info`: names in `info` have only letters, digits, `-`, `_` and `.`",
        ),
        ("env: {A: yes}", "f:1:10: `A` must be text (put it in quotes if it is meant as such), not a boolean"),
        ("labels: {a b: x}", "f:1:10: `a b` cannot be `labels`: names of labels have no spaces and no `=`"),
        (
            "skip-link-scripts: graphviz",
            "f:1:20: `skip-link-scripts` must be a list of package names (`[graphviz]`), not text",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    }
    for text in ["registry: localhost:5000/x", "registry: docker.io/library", "layers: 3", "layers: 110"] {
        parse(text).unwrap();
    }
}

proptest! {
    #[test]
    fn never_panics(lines in prop::collection::vec(
        " {0,4}(- )?(registry:|base:|platforms:|lock-subdirs:|root:|mirrors:|layers:|env:|labels:|deny:|images:|parent:)?\
         [ -~é]{0,10}", 0..10,
    )) {
        let _ = parse(&lines.join("\n"));
    }
}
