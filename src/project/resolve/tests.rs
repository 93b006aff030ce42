use super::*;
use crate::project::{AptPolicy, Mirror};

/// A project's folder with these files.
struct Folder(tempfile::TempDir);

const ENVIRONMENT: &str = "channels: [conda-forge]\ndependencies: [python]\n";

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    /// A folder with this `esker.yml` and an environment for each of `images`.
    fn with_images(config: &str, images: &[&str]) -> Self {
        let paths: Vec<String> = images.iter().map(|name| format!("{name}/environment.yml")).collect();
        let environments = paths.iter().map(|path| (path.as_str(), ENVIRONMENT));
        Self::new(&[("esker.yml", config)].into_iter().chain(environments).collect::<Vec<_>>())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn open(&self) -> Result<Project, Error> {
        Project::open(self.0.path())
    }

    /// The message of what is wrong, without the temporary folder's name.
    fn fault(&self) -> String {
        let error = self.open().expect_err("the project has a fault");
        error.to_string().replace(&format!("{}/", self.path().display()), "")
    }
}

fn names(project: &Project) -> Vec<&str> {
    project.images.keys().map(String::as_str).collect()
}

#[test]
fn without_a_configuration_folders_are_found() {
    let folder = Folder::new(&[
        ("b/environment.yml", ENVIRONMENT),
        ("a/binder/environment.yml", ENVIRONMENT),
        ("c/.binder/environment.yml", ENVIRONMENT),
        ("c/virtual-packages.yml", "not read: .binder hides it"),
        (".hidden/environment.yml", ENVIRONMENT),
        ("binder/environment.yml", ENVIRONMENT),
        ("docs/index.md", ""),
        ("environment.yml", ENVIRONMENT),
    ]);
    let project = folder.open().unwrap();
    assert_eq!(project.root, folder.path());
    assert_eq!(names(&project), ["a", "b", "c"]);
    assert_eq!(project.images["a"].files, folder.path().join("a/binder"));
    assert_eq!(project.images["c"].files, folder.path().join("c/.binder"));
    assert_eq!(project.root_image, None);
    let b = &project.images["b"];
    assert_eq!(b.files, b.folder);
    assert_eq!(b.platforms, [Platform::LinuxAmd64, Platform::LinuxArm64]);
    assert_eq!(b.subdirs, [Subdir::Linux64, Subdir::LinuxAarch64]);
    assert_eq!(b.base, Some(default_base()));
    assert_eq!((b.layers, b.apt), (80, AptPolicy::Install));
}

#[test]
fn the_root_is_found_from_below() {
    let folder = Folder::with_images("", &["a", "b"]);
    let from_below = Project::open(&folder.path().join("a")).unwrap();
    assert_eq!(from_below.root, folder.path());
    std::fs::remove_file(folder.path().join("esker.yml")).unwrap();
    assert_eq!(Project::open(&folder.path().join("a")).unwrap().root, folder.path());

    std::fs::remove_dir_all(folder.path().join("b")).unwrap();
    let alone = Project::open(&folder.path().join("a")).unwrap();
    assert_eq!((alone.root.as_path(), names(&alone)), (folder.path().join("a").as_path(), vec!["a"]));
}

#[test]
fn everything_there_is() {
    let config = "registry: quay.io/example\nbase: oci:base\nlayers: 40\nenv: {A: 1, B: 2}\nlabels: {a: x}\napt: skip\n\
                  skip-link-scripts: [graphviz]\nmirrors: {https://conda.anaconda.org/: http://localhost:8080/}\nimages:\n  \
                  ml:\n    parent: pangeo\n    platforms: [linux/amd64]\n    lock-subdirs: [linux-64]\n    base: rootfs:x.tar\n    \
                  env: {B: 3, C: 4}\n    labels: {b: y}\n    apt: refuse\n    skip-link-scripts: [gtk3, graphviz]\n    layers: \
                  60\n  pangeo: {parent: zero}\n";
    let folder = Folder::with_images(config, &["ml", "pangeo", "zero", "base-image", "alpha"]);
    std::fs::write(folder.path().join("ml/virtual-packages.yml"), "subdirs: {linux-64: {packages: {__cuda: '12'}}}")
        .unwrap();
    let project = folder.open().unwrap();
    assert_eq!(project.registry.as_deref(), Some("quay.io/example"));
    assert_eq!(names(&project), ["alpha", "base-image", "zero", "pangeo", "ml"]);
    assert_eq!(project.root_image.as_deref(), Some("base-image"));
    assert_eq!(
        project.images[0].mirrors,
        [Mirror::parse("https://conda.anaconda.org/=http://localhost:8080/").unwrap()]
    );

    let ml = project.image("ml").unwrap();
    let chain: Vec<_> = ml.environments.iter().map(|environment| environment.path.clone()).collect();
    let paths = ["ml", "pangeo", "zero"].map(|name| folder.path().join(name).join("environment.yml"));
    assert_eq!(chain, paths);
    assert_eq!((ml.platforms.as_slice(), ml.subdirs.as_slice()), (&[Platform::LinuxAmd64][..], &[Subdir::Linux64][..]));
    assert_eq!(ml.base, Some(BaseSource::Any(BaseReference::parse("rootfs:x.tar").unwrap())));
    assert_eq!(ml.env.values().collect::<Vec<_>>(), ["1", "3", "4"]);
    assert_eq!(ml.labels.len(), 2);
    assert_eq!(ml.skip_link_scripts, ["graphviz", "gtk3"]);
    assert_eq!((ml.layers, ml.apt), (60, AptPolicy::Refuse));
    assert_eq!(ml.virtual_packages.subdirs[&Subdir::Linux64]["__cuda"], "12");

    let pangeo = project.image("pangeo").unwrap();
    assert_eq!((pangeo.layers, pangeo.apt), (40, AptPolicy::Skip));
    assert_eq!(pangeo.base, Some(BaseSource::Any(BaseReference::parse("oci:base").unwrap())));
    assert!(pangeo.virtual_packages.subdirs.is_empty());
}

#[test]
fn images_by_name() {
    let folder =
        Folder::with_images("images: {b: {parent: z}, c: {parent: b}, d: {parent: b}}", &["a", "b", "c", "d", "z"]);
    let project = folder.open().unwrap();
    let ancestors = |names: &[&str]| {
        let images = project.with_ancestors(names).unwrap();
        images.into_iter().map(|image| image.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(ancestors(&["d", "c", "d"]), ["z", "b", "c", "d"]);
    assert_eq!(ancestors(&["a"]), ["a"]);
    assert_eq!(
        project.image("pangeo").unwrap_err().to_string(),
        "no image `pangeo` in this project; expected one of `a`, `z`, `b`, `c`, `d`"
    );
    assert!(project.with_ancestors(&["a", "x"]).is_err());
}

#[test]
fn subdirs_and_platforms() {
    let targets = |config: &str, environment: &str| {
        let folder = Folder::new(&[("esker.yml", config), ("a/environment.yml", environment)]);
        folder.open().map_err(|_| folder.fault()).map(|project| {
            let image = &project.images["a"];
            let platforms: Vec<_> = image.platforms.iter().map(|platform| platform.architecture()).collect();
            let subdirs: Vec<_> = image.subdirs.iter().map(|subdir| subdir.as_str()).collect();
            format!("{} | {}", platforms.join(" "), subdirs.join(" "))
        })
    };
    let narrow = format!("{ENVIRONMENT}platforms: [linux-aarch64, osx-64]\n");
    for (config, environment, expected) in [
        ("", ENVIRONMENT, "amd64 arm64 | linux-64 linux-aarch64"),
        ("platforms: [linux/arm64]", ENVIRONMENT, "arm64 | linux-aarch64"),
        ("lock-subdirs: [osx-64, linux-64]", ENVIRONMENT, "amd64 | osx-64 linux-64"),
        ("images: {a: {platforms: [linux/ppc64le]}}", ENVIRONMENT, "ppc64le | linux-ppc64le"),
        (
            "platforms: [linux/amd64, linux/arm64]\nimages: {a: {lock-subdirs: [linux-64]}}",
            ENVIRONMENT,
            "amd64 | linux-64",
        ),
        ("", &narrow, "arm64 | linux-aarch64 osx-64"),
        ("lock-subdirs: [linux-64, linux-aarch64]", &narrow, "arm64 | linux-aarch64 osx-64"),
        ("images: {a: {lock-subdirs: [linux-64]}}", &narrow, "amd64 | linux-64"),
    ] {
        assert_eq!(targets(config, environment).unwrap(), expected, "{config}");
    }
    let fault = |place, platform, subdir| {
        format!("{place}: `a` has no lock for {platform}; add `{subdir}` to `lock-subdirs`, or remove the platform")
    };
    for (config, environment, expected) in [
        (
            "platforms: [linux/amd64, linux/arm64]\nlock-subdirs: [linux-64]",
            ENVIRONMENT,
            fault("esker.yml:1:26", "linux/arm64", "linux-aarch64"),
        ),
        (
            "images: {a: {platforms: [linux/amd64], lock-subdirs: [osx-64]}}",
            ENVIRONMENT,
            fault("esker.yml:1:26", "linux/amd64", "linux-64"),
        ),
        ("images: {a: {platforms: [linux/amd64]}}", &narrow, fault("esker.yml:1:26", "linux/amd64", "linux-64")),
        ("platforms: [linux/amd64]", &narrow, fault("a/environment.yml:1:1", "linux/amd64", "linux-64")),
        ("lock-subdirs: [osx-64]", ENVIRONMENT, fault("esker.yml:1:15", "linux/amd64", "linux-64")),
    ] {
        assert_eq!(targets(config, environment).unwrap_err(), expected, "{config}");
    }
}

#[test]
fn faults_in_the_configuration_name_their_place() {
    for (config, expected) in [
        (
            "images: {x: {}}",
            "esker.yml:1:10: image `x` has no `x/environment.yml`; write that file, or remove the image from `images`",
        ),
        (
            "images: {../a: {}}",
            "esker.yml:1:10: `../a` cannot be `images`: names are those of folders beside this file: lower-case letters and digits, with single `.`, `_` or `-` between them",
        ),
        (
            "images: {a: {parent: bb}}",
            "esker.yml:1:22: `parent` names `bb`, which is no image of this project; expected one of `a`, `b`, `base-image`",
        ),
        (
            "root: base-imag",
            "esker.yml:1:7: `root` names `base-imag`, which is no image of this project; did you mean `base-image`?",
        ),
        ("images: {a: {parent: a}}", "esker.yml:1:22: images cannot be their own ancestors: a -> a"),
        (
            "images:\n  a: {parent: b}\n  b: {parent: a}",
            "esker.yml:2:15: images cannot be their own ancestors: a -> b -> a",
        ),
        ("images:\n  a: {parent: b}\n  b: {parent: b}", "esker.yml:3:15: images cannot be their own ancestors: b -> b"),
        (
            "images: {a: {parent: base-image}}",
            "esker.yml:1:22: `base-image` is the environment of the root prefix (`root`) and cannot be the parent of `a`; remove `parent`, or name another image as `root`",
        ),
        (
            "root: b\nimages: {a: {parent: b}}",
            "esker.yml:2:22: `b` is the environment of the root prefix (`root`) and cannot be the parent of `a`; remove `parent`, or name another image as `root`",
        ),
        (
            "images: {base-image: {platforms: [linux/amd64]}}",
            "`a` is built for linux/arm64, for which the root prefix `base-image` has no lock; add linux/arm64 to the `platforms` of `base-image`",
        ),
    ] {
        assert_eq!(Folder::with_images(config, &["a", "b", "base-image"]).fault(), expected, "{config}");
    }
    let folder = Folder::with_images("root: none\nimages: {a: {parent: base-image}}", &["a", "base-image"]);
    assert_eq!(folder.open().unwrap().root_image, None);
}

#[test]
fn faults_in_the_folders() {
    let empty = Folder::new(&[("docs/index.md", "")]);
    assert!(matches!(empty.open(), Err(Error::NoImages { root }) if root == empty.path()));
    let two = Folder::new(&[("a/binder/environment.yml", ENVIRONMENT), ("a/.binder/environment.yml", ENVIRONMENT)]);
    assert!(matches!(two.open(), Err(Error::TwoBinders { .. })));
    let hidden = Folder::new(&[("a/environment.yml", ENVIRONMENT), ("a/binder/apt.txt", "vim")]);
    assert!(matches!(hidden.open(), Err(Error::HiddenEnvironment { .. })));
    let named = Folder::new(&[("My Image/environment.yml", ENVIRONMENT)]);
    assert!(matches!(named.open(), Err(Error::ImageName { .. })));
    let broken = Folder::new(&[("a/environment.yml", "dependencies: [x=]")]);
    assert!(matches!(broken.open(), Err(Error::Spec { .. })));
    assert!(matches!(Project::open(&empty.path().join("none")), Err(Error::Read { .. })));
}

#[test]
fn apt_packages() {
    let folder = Folder::with_images("", &["a", "b"]);
    let write = |content: &str| std::fs::write(folder.path().join("a/apt.txt"), content).unwrap();
    let read = || folder.open().unwrap().images["a"].apt_packages();
    write("# editors\nvim nano # two\r\n\n libgl1:arm64=1.6.0-1~x\nvim\ng++\n");
    assert_eq!(read().unwrap(), ["vim", "nano", "libgl1:arm64=1.6.0-1~x", "g++"]);
    assert!(folder.open().unwrap().images["b"].apt_packages().unwrap().is_empty());
    for (content, column) in [("vim -y", 5), ("Vim", 1), ("a", 1), ("x;rm", 1), ("vim=", 1), ("$(id)", 1)] {
        write(content);
        let Err(Error::AptPackage { place, .. }) = read() else { panic!("{content}") };
        assert_eq!((place.line, place.column), (1, column), "{content}");
    }
}
