//! Checks that need the layers alone: each is shown to fail when what it looks at is broken, and no other with it.

use esker::lock::Manager;
use esker::oci::Platform;
use esker::project::AptPolicy;
use esker::verify::checks::{ALL, How};
use esker::verify::{Outcome, RuntimeKind};
use serde_json::json;

use crate::model::{Model, environment, lock};
use crate::skip::skipped;

type Break = fn(&mut Model);

/// What is broken, and the check that must notice.
const MUTATIONS: &[(&str, Break)] = &[
    ("identity.conda", |m| {
        let record = m.record("zlib");
        m.edit(&record, "h0_0", "h1_0");
    }),
    ("identity.conda", |m| {
        let record = m.record("zlib");
        m.edit(&record, "\"sha256\":\"", "\"sha256\":\"0");
    }),
    ("identity.conda", |m| {
        let record = m.record("zlib");
        m.put("srv/conda/envs/notebook/conda-meta/extra.json", Some("{ no JSON"), 0o644, 1000);
        assert!(m.files.contains_key(&record));
    }),
    ("identity.root", |m| m.root = Some(lock(&[("conda", "25.5.1"), ("mamba", "2.0")]))),
    ("identity.root", |m| m.root = None),
    ("identity.root", |m| {
        let record = m.record("conda");
        m.files.remove(&record);
    }),
    ("identity.files", |m| {
        let record = m.record("zlib");
        m.edit(&record, "\"files\":[]", "\"files\":[\"lib/libz.so\"]");
    }),
    ("identity.files", |m| {
        let record = m.record("conda");
        m.edit(&record, "\"files\":[]", "\"files\":[\"bin/conda\"]");
    }),
    ("identity.files", |m| {
        m.pip_package("pip-tool", "1.0", "pip_tool-1.0.dist-info");
        let site = "srv/conda/envs/notebook/lib/python3.13/site-packages";
        m.put(&format!("{site}/pip_tool-1.0.dist-info/RECORD"), Some("pip_tool.py,,\n"), 0o644, 1000);
    }),
    ("identity.hashes", |m| m.edit("srv/conda/envs/notebook/share/hashed", "packed", "hacked")),
    ("identity.hashes", |m| {
        m.pip_package("pip-tool", "1.0", "pip_tool-1.0.dist-info");
        let site = "srv/conda/envs/notebook/lib/python3.13/site-packages";
        m.put(&format!("{site}/pip_tool.py"), Some("changed"), 0o644, 1000);
        let empty = "pip_tool.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n";
        m.put(&format!("{site}/pip_tool-1.0.dist-info/RECORD"), Some(empty), 0o644, 1000);
    }),
    ("identity.licences", |m| {
        fs_err::write(m.folder.path().join("environment.yml"), "dependencies: [zlib]\n").unwrap();
        m.spec.environments = vec![environment(m.folder.path(), &["zlib"])];
        let record = m.record("zlib");
        m.edit(&record, "\"MIT\"", "null");
    }),
    ("identity.pip", |m| m.pip_package("pip-tool", "1.0", "pip_tool-1.1.dist-info")),
    ("identity.pip", |m| {
        m.put("srv/conda/envs/notebook/lib/python3.13/site-packages/stray-1.0.dist-info", None, 0o755, 1000);
    }),
    ("contract.environment", |m| m.variable("NB_UID", "1001")),
    ("contract.environment", |m| m.variable("EXTRA", "other")),
    ("contract.environment", |m| m.spec.env.insert("MORE".into(), "1".into()).map_or((), drop)),
    ("contract.path", |m| m.variable("PATH", "/usr/bin:/srv/conda/envs/notebook/bin:/srv/conda/bin")),
    ("contract.path", |m| m.variable("PATH", "/srv/conda/envs/notebook/bin:/srv/conda/binary")),
    ("contract.entrypoint", |m| m.config["config"]["Entrypoint"] = json!(["tini", "--", "/srv/start"])),
    ("contract.entrypoint", |m| m.config["config"]["Entrypoint"] = json!(null)),
    ("contract.command", |m| m.config["config"]["Cmd"] = json!([])),
    ("contract.nvidia", |m| m.cuda("12.6", "12.6")),
    ("gpu.cuda", |m| m.with_driver().cuda("12.6", "11.8")),
    ("gpu.cuda", |m| m.with_driver().package("cuda-version", "12.6")),
    ("gpu.cuda", |m| {
        m.with_driver().cuda("12.6", "12.0");
        m.package("cuda-nvrtc", "11.8");
    }),
    ("contract.port", |m| m.config["config"]["ExposedPorts"] = json!({"8889/tcp": {}})),
    ("contract.user", |m| m.config["config"]["User"] = json!("root")),
    ("contract.user", |m| m.config["config"]["User"] = json!("")),
    ("contract.user", |m| m.config["config"]["User"] = json!("1001")),
    ("contract.user", |m| m.edit("etc/passwd", "1000:1000", "1001:1001")),
    ("contract.labels", |m| m.config["config"]["Labels"]["org.example.team"] = json!("others")),
    ("contract.labels", |m| m.config["config"]["Labels"] = json!({})),
    ("files.start", |m| m.file("srv/start").mode = 0o744),
    ("files.start", |m| m.file("srv/start").mode = 0o775),
    ("files.start", |m| m.edit("srv/start", "#!/bin/bash -l\n", "")),
    ("files.start", |m| {
        m.files.remove("srv/start");
    }),
    ("files.srv-owner", |m| m.file("srv").owner = 0),
    ("files.srv-owner", |m| m.file("srv/conda/etc/dask.yml").owner = 0),
    ("files.condarc", |m| m.edit("srv/conda/.condarc", "channels: [conda-forge]\n", "# nothing\n")),
    ("files.condarc", |m| {
        m.files.remove("srv/conda/.condarc");
    }),
    ("files.dask-config", |m| m.edit("srv/conda/etc/dask.yml", "LocalCluster", "GatewayCluster")),
    ("files.dask-config", |m| m.edit("srv/conda/etc/dask.yml", "  factory:", " factory: [")),
    ("files.login-shell", |m| {
        m.files.remove("etc/profile.d/init_conda.sh");
    }),
    ("files.home", |m| m.put("home/jovyan/.bashrc", Some(""), 0o644, 1000)),
    ("files.home", |m| m.file("home/jovyan").owner = 0),
    ("clean.setuid", |m| m.file("srv/start").mode = 0o4755),
    ("clean.setuid", |m| m.put("usr/local/bin/tool", Some(""), 0o4755, 0)),
    ("clean.setuid", |m| m.put("opt/tool", Some(""), 0o2755, 0)),
    ("clean.world-writable", |m| m.put("etc/odd", Some(""), 0o646, 0)),
    ("clean.world-writable", |m| m.put("opt", None, 0o777, 0)),
    ("clean.secrets", |m| m.put("root/.netrc", Some("machine h login ada password s3cret\n"), 0o600, 0)),
    ("clean.secrets", |m| m.put("etc/ssh/key", Some("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600, 0)),
    ("clean.secrets", |m| m.put("etc/pip.conf", Some("index-url = https://ada:s3cret@example.org/\n"), 0o644, 0)),
    ("clean.secrets", |m| {
        m.edit("srv/conda/.condarc", "conda-forge", "https://conda.example.org/t/ab-1234567890/team");
    }),
    ("clean.secrets", |m| m.variable("GITHUB_TOKEN", "abc")),
    ("clean.secrets", |m| m.config["history"] = json!([{"created_by": "pip install -i https://ada:s3cret@h/"}])),
    ("clean.secrets", |m| {
        let record = m.record("zlib");
        m.edit(&record, "{", r#"{"url": "https://ada:s3cret@conda.example.org/noarch/zlib.conda", "#);
    }),
    ("clean.secrets", |m| {
        let history = "srv/conda/envs/notebook/conda-meta/history";
        m.put(history, Some("+https://conda.example.org/t/ab-1234567890/team::zlib\n"), 0o644, 1000);
    }),
    ("clean.leftovers", |m| m.put("srv/conda/pkgs/urls.txt", Some("x"), 0o644, 1000)),
    ("clean.leftovers", |m| m.put("var/lib/apt/lists/deb_InRelease", Some("x"), 0o644, 0)),
    ("clean.build-paths", |m| {
        let record = m.record("zlib");
        m.edit(&record, "{", r#"{"extracted_package_dir": "/home/me/pkgs/zlib", "#);
    }),
    ("clean.build-paths", |m| {
        let record = m.record("conda");
        m.edit(&record, "{", r#"{"link": {"source": "/home/me/pkgs/conda", "type": 1}, "#);
    }),
    ("system.apt", |m| fs_err::write(m.folder.path().join("apt.txt"), "# tools\nless # pager\n").unwrap()),
];

impl Model {
    /// Locks CUDA for machines with a driver of a version.
    fn cuda(&mut self, version: &str, driver: &str) {
        self.package("cuda-version", version);
        let packages = [("__cuda".to_owned(), driver.to_owned())];
        let subdirs = self.spec.subdirs.iter().map(|subdir| (*subdir, packages.clone().into()));
        self.spec.virtual_packages.subdirs = subdirs.collect();
    }

    /// Looks for NVIDIA's driver where it is put.
    fn with_driver(&mut self) -> &mut Self {
        self.variable("PATH", "/srv/conda/envs/notebook/bin:/srv/conda/bin:/usr/bin:/usr/local/nvidia/bin");
        self.variable("LD_LIBRARY_PATH", "/usr/local/nvidia/lib64");
        self
    }

    fn pip_package(&mut self, name: &str, version: &str, directory: &str) {
        let mut packages = lock(&[(name, version)]).packages;
        packages.iter_mut().for_each(|package| package.manager = Manager::Pip);
        self.lock.packages.extend(packages);
        self.put(&format!("srv/conda/envs/notebook/lib/python3.13/site-packages/{directory}"), None, 0o755, 1000);
    }
}

/// A model of which the layers alone are looked at.
fn still_model() -> Model {
    let mut model = Model::new();
    model.selection.skip = ["entrypoint", "hub", "dask", "python", "jupyter", "tests"].map(str::to_owned).into();
    model
}

#[tokio::test]
async fn the_whole_model_passes_and_is_written_down() {
    let model = still_model();
    let verification = model.verify_with(RuntimeKind::Embedded).await.unwrap();
    assert_eq!(verification.report.failures().collect::<Vec<_>>(), []);
    let verified = verification.verified.unwrap();
    assert_eq!((verified.digest(), verified.unchecked_because()), (verification.report.digest, None));
    assert_eq!(verification.packages_written, Some(model.packages_txt()));
    let text = fs_err::read_to_string(model.packages_txt()).unwrap();
    assert!(text.ends_with(".lock, please use that as source of truth\npython==3.13.5\nzlib==1.3.1\n"), "{text}");
    assert_eq!(model.verify_with(RuntimeKind::Embedded).await.unwrap().packages_written, None);
}

/// conda's packages bring a `RECORD` as well, which nobody writes anew for what is stripped; the environment is below the
/// root prefix, and is none of its packages.
#[tokio::test]
async fn a_record_that_a_conda_package_brings_is_not_pips() {
    let mut model = still_model();
    let record = "lib/python3.13/site-packages/zlib-1.3.1.dist-info/RECORD";
    let installed = model.record("zlib");
    model.edit(&installed, "\"files\":[]", &format!("\"files\":[\"{record}\"]"));
    model.put(&format!("srv/conda/envs/notebook/{record}"), Some("zlib/stripped.js,,\n"), 0o644, 1000);
    assert_eq!(model.failures().await, [""; 0]);
}

#[tokio::test]
async fn each_check_notices_what_it_is_for() {
    for (index, (check, mutate)) in MUTATIONS.iter().enumerate() {
        let mut model = still_model();
        mutate(&mut model);
        assert_eq!(model.failures().await, [*check], "mutation {index}");
        assert!(!model.packages_txt().exists(), "mutation {index}");
    }
}

#[test]
fn no_layer_check_is_left_out_of_the_table() {
    let layer_checks = ALL.iter().filter(|check| !matches!(check.how, How::Running(_))).map(|check| check.name);
    for name in layer_checks.filter(|name| *name != "identity.packages-txt") {
        assert!(MUTATIONS.iter().any(|(check, _)| *check == name), "{name}");
    }
}

#[tokio::test]
async fn licences_are_counted() {
    let mut model = still_model();
    let record = model.record("zlib");
    model.edit(&record, "\"MIT\"", "\"\"");
    let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
    let licences = report.platforms[0].checks.iter().find(|check| check.name == "identity.licences").unwrap();
    assert_eq!(licences.outcome, Outcome::Passed);
    let facts = ["licences", "without-licence"].map(|name| licences.facts[name].as_str());
    assert_eq!(facts, ["MIT 2", "zlib"]);
}

#[tokio::test]
async fn another_version_shows_in_packages_txt_too() {
    let mut model = still_model();
    let record = model.record("zlib");
    model.edit(&record, "1.3.1", "1.3.2");
    assert_eq!(model.failures().await, ["identity.conda", "identity.packages-txt"]);
}

#[tokio::test]
async fn packages_of_pip_are_found_under_any_spelling() {
    let mut model = still_model();
    model.pip_package("pip-tool", "1.0", "Pip_Tool-1.0.dist-info");
    assert_eq!(model.failures().await, Vec::<String>::new());
}

#[tokio::test]
async fn packages_of_apt_txt_are_found_or_said_to_be_left_out() {
    let mut model = still_model();
    fs_err::write(model.folder.path().join("apt.txt"), "less\n").unwrap();
    let status = "Package: git\nStatus: deinstall ok config-files\n\nPackage: less\nStatus: install ok installed\n";
    model.put("var/lib/dpkg/status", Some(status), 0o644, 0);
    assert_eq!(model.failures().await, Vec::<String>::new());
    fs_err::write(model.folder.path().join("apt.txt"), "less\ngit\n").unwrap();
    assert_eq!(model.failures().await, ["system.apt"]);
    model.spec.apt = AptPolicy::Skip;
    let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
    let apt = report.platforms[0].checks.iter().find(|check| check.name == "system.apt").unwrap();
    assert_eq!(apt.outcome, Outcome::NotRun { reason: "`apt: skip` leaves out git".into() });
}

#[tokio::test]
async fn a_choice_of_checks_is_no_leave_to_publish() {
    let mut model = still_model();
    model.selection.only = vec!["contract".into()];
    let verification = model.verify_with(RuntimeKind::Embedded).await.unwrap();
    assert!(verification.report.passed());
    assert_eq!((verification.verified, verification.packages_written), (None, None));
}

#[tokio::test]
async fn a_platform_that_cannot_run_is_looked_at_and_not_called_passed() {
    let Some(foreign) = Platform::ALL.into_iter().find(|p| esker::verify::runtime::embedded::can_run(*p).is_err())
    else {
        skipped("every platform runs here");
        return;
    };
    let mut model = Model::new();
    model.platforms = vec![foreign];
    let subdir = foreign.subdir();
    for package in model.lock.packages.iter_mut().chain(model.root.iter_mut().flat_map(|root| &mut root.packages)) {
        package.subdir = subdir;
    }
    let verification = model.verify_with(RuntimeKind::Embedded).await.unwrap();
    let platform = &verification.report.platforms[0];
    let reason = format!("no binfmt handler for {}", foreign.architecture());
    for (check, report) in ALL.iter().zip(&platform.checks) {
        match check.how {
            _ if ["identity.pip", "contract.nvidia", "gpu.cuda", "system.apt"].contains(&check.name) => {}
            How::Layers(_) | How::Listing(_) => assert_eq!(report.outcome, Outcome::Passed, "{}", check.name),
            How::Running(_) if check.needs.is_empty() || check.needs == ["python"] => {
                assert_eq!(report.outcome, Outcome::NotRun { reason: reason.clone() }, "{}", check.name);
            }
            How::Running(_) => assert!(matches!(report.outcome, Outcome::NotRun { .. }), "{}", check.name),
        }
    }
    assert_eq!(platform.runtime, None);
    assert!(fs_err::read_to_string(model.packages_txt()).unwrap().contains(&format!("conda-{subdir}.lock")));
}

#[tokio::test]
async fn one_of_several_platforms_does_not_prove_the_image() {
    let host = Platform::host().unwrap();
    let others = [Platform::LinuxAmd64, Platform::LinuxArm64].into_iter().filter(|platform| *platform != host);
    let Some(foreign) = others.into_iter().find(|p| esker::verify::runtime::embedded::can_run(*p).is_err()) else {
        println!("skipped: every platform runs here");
        return;
    };
    let mut model = Model::new();
    model.chosen = vec![foreign];
    for (platforms, is_first) in [([host, foreign], false), ([foreign, host], true)] {
        model.platforms = platforms.to_vec();
        let verification = model.verify_with(RuntimeKind::Embedded).await.unwrap();
        assert_eq!(verification.report.failures().count(), 0);
        assert_eq!(verification.verified, None);
        assert_eq!(verification.packages_written.is_some(), is_first, "the file is the first platform's");
    }
}

#[tokio::test]
async fn a_damaged_layer_is_an_error() {
    let model = still_model();
    let layout = model.layout();
    let layer = layout.images().unwrap()[0].layers[0].digest;
    let mut bytes = fs_err::read(layout.blob_path(&layer)).unwrap();
    bytes[600] ^= 1;
    fs_err::write(layout.blob_path(&layer), bytes).unwrap();
    let refused = model.verify_layout(&layout, RuntimeKind::Embedded).await.map(|v| v.report);
    assert!(matches!(refused, Err(esker::verify::Error::Image(_))), "{refused:?}");
}
