//! `esker why`: which requests bring a package in.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;

use super::args::WhyArgs;
use super::failure::Failure;
use super::lock::selected;
use super::ui::Ui;
use crate::lock::why::{Chain, why};
use crate::lock::{Lock, LockSpec};
use crate::pipeline::Session;
use crate::project::{Help, ImageSpec};

/// Chains that are shown of one image unless all are asked for.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Report {
    schema: u32,
    package: String,
    images: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    image: String,
    versions: BTreeSet<String>,
    chains: Vec<Way>,
}

#[derive(Serialize)]
struct Way {
    requested: Vec<Line>,
    links: Vec<Link>,
    subdirs: Vec<String>,
    everywhere: bool,
}

#[derive(Serialize)]
struct Line {
    file: std::path::PathBuf,
    line: usize,
    spec: String,
}

#[derive(Serialize)]
struct Link {
    name: String,
    requirement: String,
}

pub fn run(args: &WhyArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let package = args.package.to_lowercase();
    let (mut answers, mut names) = (Vec::new(), BTreeSet::new());
    for image in selected(&args.image, session)? {
        let Some(lock) = session.existing_lock(image)? else {
            ui.note_unlocked(&image.name);
            continue;
        };
        answers.extend(answer(args, &package, image, &lock, session)?);
        names.extend(lock.packages.into_iter().map(|package| package.name));
    }
    if answers.is_empty() {
        return Err(not_locked(&package, &names));
    }
    ui.result(&Report { schema: 1, package, images: answers }, |report| text(report, args.all))?;
    Ok(ExitCode::SUCCESS)
}

fn answer(
    args: &WhyArgs,
    package: &str,
    image: &ImageSpec,
    lock: &Lock,
    session: &Session<'_>,
) -> Result<Option<Answer>, Failure> {
    let spec = LockSpec::of(image)?;
    let here = |subdir| args.subdir.is_none_or(|wanted| wanted == subdir);
    let locked = lock.packages.iter().filter(|locked| locked.name == package && here(locked.subdir));
    let versions = locked.map(|locked| locked.version.clone()).collect();
    let everywhere = spec.subdirs.iter().filter(|asked| here(asked.subdir)).count();
    let chains = why(lock, &spec, package, args.subdir);
    let way = |chain: Chain| way(chain, everywhere, session);
    let answer = |chains: Vec<Chain>| Answer {
        image: image.name.clone(),
        versions,
        chains: chains.into_iter().map(way).collect(),
    };
    Ok(chains.map(answer))
}

fn way(chain: Chain, everywhere: usize, session: &Session<'_>) -> Way {
    let lines = chain.requested.into_iter().map(|dependency| Line {
        file: session.relative(&dependency.place.file),
        line: dependency.place.line,
        spec: dependency.spec,
    });
    let links = chain.links.into_iter().map(|link| Link { name: link.name, requirement: link.requirement });
    Way {
        requested: lines.collect(),
        links: links.collect(),
        everywhere: chain.subdirs.len() == everywhere,
        subdirs: chain.subdirs.iter().map(ToString::to_string).collect(),
    }
}

fn not_locked(package: &str, names: &BTreeSet<String>) -> Failure {
    // A list of all packages would be no help; only a misspelling is told.
    let help = Help::for_word(package, names.iter().map(String::as_str)).to_string();
    let hint = Some(help).filter(|help| help.starts_with("did you mean"));
    Failure::no(format!("no lock has `{package}`"), hint)
}

fn text(report: &Report, all: bool) -> String {
    let shown = if all { usize::MAX } else { SHOWN };
    let mut out = String::new();
    for answer in &report.images {
        let versions: Vec<_> = answer.versions.iter().map(String::as_str).collect();
        let title = format!("{} {}", report.package, versions.join(", "));
        out.push_str(&format!("{}: {}\n", answer.image, title.trim_end()));
        let rows: Vec<_> = answer.chains.iter().take(shown).map(columns).collect();
        let width = rows.iter().map(|(place, _)| place.chars().count()).max().unwrap_or(0);
        for (place, chain) in rows {
            out.push_str(&format!("  {place:width$}  {chain}\n"));
        }
        match answer.chains.len() {
            0 => out.push_str("  nothing asks for it any more: the lock is stale\n"),
            total if total > shown => out.push_str(&format!("  and {} more; --all shows them\n", total - shown)),
            _ => {}
        }
    }
    out
}

fn columns(way: &Way) -> (String, String) {
    let places: Vec<_> = way.requested.iter().map(|line| format!("{}:{}", line.file.display(), line.line)).collect();
    let link = |link: &Link| format!("{} {}", link.name, link.requirement).trim_end().to_owned();
    let mut links: Vec<_> = way.links.iter().map(link).collect();
    if let ([first, ..], [line]) = (&mut links[..], &way.requested[..]) {
        first.clone_from(&line.spec);
    }
    let platforms = if way.everywhere { String::new() } else { format!("  ({})", way.subdirs.join(", ")) };
    (places.join(", "), links.join(" → ") + &platforms)
}
