//! What verify leaves behind: logs, what an image was asked about itself, documents for people and programs, and an
//! unpacked image for the next run.

use std::path::Path;

use esker::installed::{Contents, ImageSource, Reader};
use esker::oci::Platform;
use esker::progress::Silent;
use esker::registry;
use esker::verify::documents::{self, Described};
use esker::verify::{CheckReport, Outcome, Report, Reports, RuntimeKind};
use serde_json::{Value, json};

use crate::judges;
use crate::model::Model;
use crate::running::running_model;

async fn verified(model: &Model) -> Report {
    model.verify_with(RuntimeKind::Embedded).await.unwrap().report
}

fn check<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report.platforms[0].checks.iter().find(|check| check.name == name).unwrap()
}

async fn contents(model: &Model) -> Vec<Contents> {
    let client = registry::Client::new(registry::Options::default());
    let source = ImageSource::Layout(model.folder.path().join("layout"));
    Reader::new(&client, &Silent, true).contents(&source, None).await.unwrap()
}

/// A model with a failure that has markup, a control sequence and an end of CDATA in its words.
fn failing_model() -> Model {
    let mut model = running_model();
    // There is no server in it.
    model.selection.skip = ["jupyter", "hub.arbitrary-user", "hub.read-only"].map(str::to_owned).into();
    model.program("jupyterhub-singleuser", "echo 'out <b>&amp; ]]>'; printf '\\033[1m'; exit 3");
    model.spec.info =
        [("shell".to_owned(), "echo $BASH".to_owned()), ("lines".to_owned(), "printf 'a\\n```\\nb'".to_owned())].into();
    model
}

#[tokio::test]
async fn logs_are_kept_of_failures_and_make_way_for_the_next_run() {
    let mut model = failing_model();
    let report = verified(&model).await;
    let log = check(&report, "hub.singleuser").log.clone().unwrap();
    let folder = format!("linux-{}", Platform::host().unwrap().architecture());
    assert_eq!(log, model.logs().join(&folder).join("hub.singleuser.log"));
    let text = fs_err::read_to_string(&log).unwrap();
    // What the image's command comes to in a hub was asked before.
    let (_, text) =
        text.split_once("$ (entrypoint) jupyterhub-singleuser --version\n").unwrap_or_else(|| panic!("{text}"));
    assert!(text.contains("--- standard output\nout <b>&amp; ]]>\n") && text.ends_with("--- exit code 3\n"), "{text}");
    assert_eq!(fs_err::read_dir(model.logs().join(&folder)).unwrap().count(), report.failures().count());

    model.keep_all_logs = true;
    model.program("jupyterhub-singleuser", "[[ $* == --version ]] && sleep 1 && echo 5.3.0");
    let report = verified(&model).await;
    let running = report.platforms[0].checks.iter().filter(|check| check.log.is_some()).count();
    assert!(running > 10 && check(&report, "dask.local-cluster").log.is_some(), "{running}");
    assert!(check(&report, "identity.conda").log.is_none());

    model.keep_all_logs = false;
    assert_eq!(verified(&model).await.failures().count(), 0);
    assert_eq!(fs_err::read_dir(model.logs()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_is_asked_about_itself() {
    let mut model = failing_model();
    let report = verified(&model).await;
    let info = check(&report, "info.commands");
    assert_eq!((&info.outcome, info.facts["info.shell"].as_str()), (&Outcome::Passed, "/bin/bash"));
    model.spec.info.insert("broken".to_owned(), "echo why >&2; exit 4".to_owned());
    let report = verified(&model).await;
    let info = check(&report, "info.commands");
    let Outcome::Failed { details, .. } = &info.outcome else { panic!("{info:?}") };
    // Between the two, this machine's bash may complain of a locale that the model does not have.
    assert_eq!(details.first().unwrap(), "broken: `echo why >&2; exit 4`: exit code 4");
    assert_eq!(details.last().unwrap(), "  why");
    assert_eq!(info.facts["info.shell"], "/bin/bash");
}

#[tokio::test]
async fn an_image_stays_unpacked_for_the_next_run_if_that_is_wanted() {
    let mut model = failing_model();
    model.keep_unpacked = true;
    let work = model.folder.path().join("work");
    let inode = || {
        let entry = fs_err::read_dir(&work).unwrap().map(Result::unwrap).next().unwrap();
        std::os::unix::fs::MetadataExt::ino(&fs_err::metadata(entry.path().join("rootfs/srv/start")).unwrap())
    };
    let first = verified(&model).await;
    let unpacked = inode();
    let second = verified(&model).await;
    assert_eq!(unpacked, inode());
    let outcomes = |report: &Report| report.platforms[0].checks.iter().map(|c| c.outcome.clone()).collect::<Vec<_>>();
    assert_eq!(outcomes(&first), outcomes(&second));
    model.keep_unpacked = false;
    verified(&model).await;
    // The one that is kept is another run's.
    assert_eq!(fs_err::read_dir(&work).unwrap().count(), 1);
}

#[tokio::test]
async fn documents_say_what_the_report_says() {
    let mut model = failing_model();
    model.keep_all_logs = true;
    // The second platform cannot run, or is the first one's twin under emulation; its layers are looked into.
    model.platforms = vec![Platform::LinuxAmd64, Platform::LinuxArm64];
    let report = verified(&model).await;
    let images = [Described { report: report.clone(), contents: contents(&model).await }];
    let folder = model.folder.path().join("documents");
    let written = documents::write(&folder, &images).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["report.json", "junit.xml", "manifest.md", "report.html"]);

    let json: Value = serde_json::from_slice(&fs_err::read(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!((&json["schema"], &json["images"][0]["image"]), (&json!(1), &json!("model")));
    let read: Reports = serde_json::from_value(json).unwrap();
    let log = check(&read.images[0], "hub.singleuser").log.clone().unwrap();
    let place = report.platforms[0].platform.architecture();
    assert_eq!(log, Path::new("logs/model").join(format!("linux-{place}")).join("hub.singleuser.log"));
    assert!(folder.join(log).is_file());

    let page = fs_err::read_to_string(folder.join("report.html")).unwrap();
    for platform in &report.platforms {
        assert!(platform.checks.iter().all(|check| page.contains(&check.name)));
    }
    assert!(page.contains("out &lt;b&gt;&amp;amp; ]]&gt;") && page.contains("By package, unpacked"), "{page}");
    assert!(page.contains("&#x2f;bin&#x2f;bash") && page.contains("zlib"));
    // Nothing is fetched by whoever opens it.
    for outside in ["<script", "<link", "<img", "src=", "href=\"http", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }

    let manifest = fs_err::read_to_string(folder.join("manifest.md")).unwrap();
    assert!(manifest.contains("### shell\n\n```\n/bin/bash\n```\n"), "{manifest}");
    assert!(manifest.contains("````\na\n```\nb\n````"), "{manifest}");
    assert!(manifest.contains("| zlib | 1.3.1 | h0_0 | conda |"), "{manifest}");
    assert!(manifest.contains(&report.platforms[0].manifest.to_string()));
}

/// What junitparser, which nobody here wrote, reads in `junit.xml`.
const READ: &str = "\
import json, sys
from junitparser import JUnitXml, Failure, Skipped
xml = JUnitXml.fromfile(sys.argv[1])
def case(c):
    result = c.result[0] if c.result else None
    return [c.classname + '.' + c.name, type(result).__name__, result and result.message, result and result.text]
print(json.dumps([{'name': s.name, 'tests': s.tests, 'failures': s.failures, 'skipped': s.skipped,
                   'cases': [case(c) for c in s]} for s in xml]))";

#[tokio::test]
async fn ci_reads_every_check_and_its_outcome() {
    let Some(home) = judges::installed("junitparser", &["junitparser==3.*"]) else { return };
    let model = failing_model();
    let report = verified(&model).await;
    let folder = model.folder.path().join("documents");
    documents::write(&folder, &[Described { report: report.clone(), contents: Vec::new() }]).unwrap();
    let mut python = std::process::Command::new("python3");
    let answer = judges::judged(python.env("PYTHONPATH", home).args(["-c", READ]).arg(folder.join("junit.xml")));
    let suites: Value = serde_json::from_str(&answer).unwrap();
    let platform = &report.platforms[0];
    let (_, failed, not_run) = platform.counts();
    let suite = &suites[0];
    assert_eq!(suite["name"], format!("model {}", platform.platform));
    assert_eq!((&suite["tests"], &suite["failures"]), (&json!(platform.checks.len()), &json!(failed)));
    assert_eq!(suite["skipped"], json!(not_run));
    for (case, check) in suite["cases"].as_array().unwrap().iter().zip(&platform.checks) {
        let (kind, message) = match &check.outcome {
            Outcome::Passed => ("NoneType", Value::Null),
            Outcome::Failed { reason, .. } => ("Failure", json!(reason)),
            Outcome::NotRun { reason } => ("Skipped", json!(reason)),
        };
        assert_eq!((&case[0], &case[1], &case[2]), (&json!(format!("model.{}", check.name)), &json!(kind), &message));
    }
    let broken = suite["cases"].as_array().unwrap().iter().find(|case| case[0] == "model.hub.singleuser").unwrap();
    assert!(broken[3].as_str().unwrap().contains("out <b>&amp; ]]>\n\u{fffd}[1m"), "{broken}");
}
