//! Environments without a solution: which lines take part, why, and what can be done.

use super::*;

/// What is said of an environment of these lines, with the image's folder as `DIR`: the message, and the hints.
async fn said(world: &World, dependencies: &[&str]) -> (String, Vec<String>) {
    let error = world.lock(dependencies).await.unwrap_err();
    told(world, &error)
}

fn told(world: &World, error: &Error) -> (String, Vec<String>) {
    let Error::Unsolvable { image, failures } = error else { panic!("{error}") };
    let folder = world.folder.path().join("image").display().to_string();
    let plain = |text: &str| text.replace(&folder, "DIR");
    let hints = esker::lock::advice(image, failures).lines().map(plain).collect();
    (plain(&error.to_string()), hints)
}

#[tokio::test]
async fn a_package_of_another_subdir_is_kept_off_or_its_platform_removed() {
    let channel = TinyChannel::standard()
        .package(Pkg::new("half", "1.0").subdirs(&["linux-64"]))
        .package(Pkg::new("half", "1.1").subdirs(&["linux-64"]))
        .package(Pkg::new("late", "1.0").native())
        .package(Pkg::new("late", "2.0").subdirs(&["linux-64"]))
        .package(Pkg::new("late", "2.1").build("cuda_0", 0).subdirs(&["linux-64"]))
        .package(Pkg::new("wrapper", "1.0").depends("half >=1"));
    let world = world(&channel);
    let (message, hints) = said(&world, &["hello", "half"]).await;
    let expected = "no solution for `image`\n\
                    on linux-aarch64, with\n  DIR/environment.yml:4:5: `half`\nbecause\n  \
                    `half` is not to be had for linux-aarch64";
    assert_eq!(message, expected);
    let remedy = "keep `half` off there with a selector (`# [linux64]`), or remove `linux/arm64` from `platforms` of \
                  `image` in `esker.yml`";
    assert_eq!(hints, [format!("`half` exists for linux-64 (up to 1.1), not for linux-aarch64: {remedy}")]);

    let (_, hints) = said(&world, &["late >=2"]).await;
    let exists = "`late >=2` exists for linux-64 (up to 2.1), not for linux-aarch64 (up to 1.0)";
    assert_eq!(hints, [format!("{exists}: {}", remedy.replace("half", "late"))]);

    let (_, hints) = said(&world, &["late=*=cuda*"]).await;
    let exists = "`late * cuda*` exists for linux-64 (up to 2.1), not for linux-aarch64 (up to 1.0)";
    assert_eq!(hints, [format!("{exists}: {}", remedy.replace("half", "late"))]);

    let (message, hints) = said(&world, &["wrapper"]).await;
    assert!(message.contains("with\n  DIR/environment.yml:3:5: `wrapper`\nbecause\n"), "{message}");
    let exists = "`half >=1`, which `wrapper` needs, exists for linux-64 (up to 1.1), not for linux-aarch64";
    assert_eq!(hints, [format!("{exists}: {}", remedy.replace("half", "wrapper"))]);
}

#[tokio::test]
async fn a_package_that_is_nowhere_is_unknown_whatever_its_selector() {
    let world = world(&TinyChannel::standard());
    let error = world.lock(&["python", "helo  # [linux64]"]).await.unwrap_err();
    let Error::UnknownPackages { packages, .. } = &error else { panic!("{error}") };
    assert_eq!((packages[0].place.line, packages[0].similar.as_deref()), (4, Some("hello")));
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told_the_nearest() {
    let mut channel = TinyChannel::new();
    for version in ["1.0", "1.2", "2.0", "2.1"] {
        channel =
            channel.package(Pkg::new("a", version).build("cpu_0", 0)).package(Pkg::new("a", version).build("gpu_0", 0));
    }
    let world = world(&channel);
    for (spec, expected) in [
        ("a 3.*", "there is no `a 3.*` for linux-64, linux-aarch64: the newest version is 2.1"),
        ("a <1", "there is no `a <1` for linux-64, linux-aarch64: the oldest version is 1.0, the newest 2.1"),
        ("a >2.1", "there is no `a >2.1` for linux-64, linux-aarch64: the newest version is 2.1"),
        ("a <0.5", "there is no `a <0.5` for linux-64, linux-aarch64: the oldest version is 1.0, the newest 2.1"),
        (
            "a=1.5",
            "there is no `a 1.5.*` for linux-64, linux-aarch64: the nearest versions are 1.2 and 2.0, the newest is 2.1",
        ),
        (
            "a >=2=tpu*",
            "there is no such build of `a >=2 tpu*` for linux-64, linux-aarch64: there are `cpu_0`, `gpu_0`",
        ),
    ] {
        let (message, hints) = said(&world, &[spec]).await;
        assert_eq!(hints, [expected], "{message}");
    }
    let (message, _) = said(&world, &["a 3.*"]).await;
    let expected = "no solution for `image`\non linux-64, linux-aarch64, with\n  DIR/environment.yml:3:5: `a 3.*`\n\
                    because\n  No candidates were found for a 3.*.";
    assert_eq!(message, expected);
}

#[tokio::test]
async fn what_the_machines_lack_is_told_with_the_file_to_write() {
    let channel = TinyChannel::standard()
        .package(Pkg::new("modern", "1.0").depends("__glibc >=2.34,<3.0.a0"))
        .package(Pkg::new("modern", "2.0").depends("__glibc >=2.39"))
        .package(Pkg::new("windows", "1.0").depends("__win"));
    let world = world(&channel);
    let (_, hints) = said(&world, &["modern"]).await;
    assert_eq!(
        hints,
        [
            "`__glibc >=2.34,<3.0.a0` is needed on linux-64, linux-aarch64, where 2.28 is assumed: if the machines have it, \
          write `subdirs: {linux-64: {packages: {__glibc: \"2.34\"}}, linux-aarch64: {packages: {__glibc: \"2.34\"}}}` \
          into `DIR/virtual-packages.yml`"
        ]
    );
    let (message, hints) = said(&world, &["hello", "__cuda >=12.4  # [linux64]"]).await;
    assert!(message.contains("on linux-64, with\n  DIR/environment.yml:4:5: `__cuda >=12.4`\n"), "{message}");
    assert_eq!(
        hints,
        ["`__cuda >=12.4` is needed on linux-64, where 11.4 is assumed: if the machines have it, write \
          `subdirs: {linux-64: {packages: {__cuda: \"12.4\"}}}` into `DIR/virtual-packages.yml`"]
    );
    let (_, hints) = said(&world, &["windows"]).await;
    assert_eq!(
        hints,
        [
            "`windows` needs `__win`, which means it is for Windows: keep it off linux-64, linux-aarch64 with a selector \
          (`# [win]`)"
        ]
    );
}

#[tokio::test]
async fn what_a_hint_says_to_write_helps() {
    let world = world(&TinyChannel::new().package(Pkg::new("modern", "1.0").depends("__glibc >=2.34")));
    let (_, hints) = said(&world, &["modern"]).await;
    let line = hints[0].split('`').find(|text| text.starts_with("subdirs:")).unwrap();
    let path = world.folder.path().join("image/virtual-packages.yml");
    fs_err::write(&path, line).unwrap();
    let mut image = world.image(&["modern"]);
    image.virtual_packages = VirtualPackages::read(&path).unwrap();
    let lock = solve(&LockSpec::of(&image).unwrap(), None, &world.client(), &Silent).await.unwrap();
    assert_eq!(lock.packages.len(), 2);
}

#[tokio::test]
async fn lines_that_exclude_each_other_are_all_named() {
    let channel = TinyChannel::new()
        .package(Pkg::new("a", "1").depends("c <2"))
        .package(Pkg::new("b", "1").depends("c >=2"))
        .package(Pkg::new("c", "1"))
        .package(Pkg::new("c", "2"))
        .package(Pkg::new("d", "1"));
    let world = world(&channel);
    let (message, hints) = said(&world, &["d", "a", "b >=1"]).await;
    let start = "no solution for `image`\non linux-64, linux-aarch64, with\n  DIR/environment.yml:4:5: `a`\n  \
                 DIR/environment.yml:5:5: `b >=1`\nbecause\n  The following packages are incompatible\n";
    assert!(message.starts_with(start), "{message}");
    assert_eq!(hints, ["change or remove one of these lines"]);
}

#[tokio::test]
async fn a_channel_that_hides_a_version_is_told() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1")));
    TinyChannel::new().package(Pkg::new("a", "3")).write(world.folder.path().join("channel/second"));
    let second = format!("{}second", world.server.url());
    let text = |spec: &str| format!("channels: [conda-forge, '{second}']\ndependencies: ['{spec}']\n");
    let spec = LockSpec::of(&world.image_of(&text("a >=2"))).unwrap();
    let error = solve(&spec, None, &world.client(), &Silent).await.unwrap_err();
    let (_, hints) = told(&world, &error);
    let expected = format!(
        "`a >=2` is in `{second}` only, and `a` is taken from `conda-forge`, the first channel that has it: write \
         `{second}::a`, or list `{second}` first"
    );
    assert_eq!(hints, [expected]);
    // And that helps.
    let spec = LockSpec::of(&world.image_of(&text(&format!("{second}::a >=2")))).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    assert_eq!(versions(&lock, Subdir::Linux64), ["a=3"]);
}

#[tokio::test]
async fn hundreds_of_builds_do_not_make_hundreds_of_lines() {
    let mut channel = TinyChannel::standard();
    for version in 0..200 {
        channel = channel.package(Pkg::new("many", &format!("1.{version}")).depends(&format!("gone =={version}")));
    }
    let world = world(&channel);
    let (message, _) = said(&world, &["hello", "many"]).await;
    assert!(message.lines().count() < 40, "{message}");
    assert!(message.contains("more like it of many") && message.contains("`-v` shows all"), "{message}");
    assert!(message.contains("DIR/environment.yml:4:5: `many`") && !message.contains("`hello`"), "{message}");
}
