//! Solving: records from channels, rattler's solver, one subdir beside the other.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use futures::future;
use rattler_conda_types::{Channel, MatchSpec, PackageName, PackageRecord, RepoDataRecord, Subdir};
use rattler_solve::{CancellationToken, SolveError};
use url::Url;

use super::categories::categorised;
use super::driver::{Tolerated, tolerated};
use super::explain::Explanation;
use super::favour::{Live, Picks};
use super::holds::satisfies;
use super::movement::{Held, Moved, Movement, Wanted};
use super::outcome::{Collected, Outcome, collect};
use super::record::unreadable;
use super::solver::{CancelOnDrop, Question};
use super::{
    Error, HeldBack, Lock, LockSpec, LockedChannel, LockedPackage, Manager, Relock, SubdirSpec, VirtualPackage, pip,
};
use crate::channel::{Client, Records};
use crate::progress::{Progress, Task, Unit};

/// Solves `spec` for every subdir. Packages of `existing` stay where they can.
///
/// The answer depends on the channels' records, `spec` and `existing` alone: not on the machine, nor on the order in
/// which packages are asked for.
///
/// # Errors
/// [`Error::Unsolvable`] names every subdir without a solution; see [`Error`] for the rest.
pub async fn solve(
    spec: &LockSpec,
    existing: Option<&Lock>,
    client: &Client,
    progress: &dyn Progress,
) -> Result<Lock, Error> {
    Ok(relock(spec, &Relock { existing, ..Relock::default() }, client, progress).await?.lock)
}

/// A lock made anew.
#[derive(Clone, Debug)]
pub struct Relocked {
    /// The lock.
    pub lock: Lock,
    /// Packages that were to be updated and could not, all the way.
    pub held: Vec<HeldBack>,
}

/// Solves `spec` for every subdir and moves what `how` asks for; [`solve`] is this with nothing to move.
///
/// # Errors
/// As [`solve`].
pub async fn relock(
    spec: &LockSpec,
    how: &Relock<'_>,
    client: &Client,
    progress: &dyn Progress,
) -> Result<Relocked, Error> {
    let channels = spec.resolved_channels()?;
    spec.warnings().for_each(|warning| progress.warning(&warning));
    let label = format!("solving {}", spec.image);
    let task = Task::start(progress, &label, Some(spec.subdirs.len() as u64), Unit::Count);
    let solves = spec.subdirs.iter().map(|subdir| async {
        let solve = SubdirSolve { image: &spec.image, spec: subdir, how, client, progress };
        let outcome = solve.run(&channels).await?;
        task.advance(1);
        Ok::<_, Error>(outcome)
    });
    let outcomes = future::join_all(solves).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let Collected { packages, held } = collect(spec, outcomes, &channels, client).await?;
    let mut lock = Lock {
        channels: spec.channels.iter().map(|channel| LockedChannel::of(channel)).collect(),
        subdirs: spec.subdirs.iter().map(|subdir| subdir.subdir).collect(),
        content_hash: spec.subdirs.iter().map(|subdir| (subdir.subdir, subdir.content_hash.clone())).collect(),
        sources: spec.sources.clone(),
        custom_metadata: how.notes(),
        packages,
    };
    lock.sort();
    pip::extras_of_conda(spec, &lock).iter().for_each(|warning| progress.warning(warning));
    Ok(Relocked { lock, held: together(held) })
}

/// What was held back, the same on several subdirs together.
fn together(held: Vec<(Subdir, Held)>) -> Vec<HeldBack> {
    let mut together: Vec<HeldBack> = Vec::new();
    for (subdir, Held { name, version, newest, reason }) in held {
        let reason = Explanation::parse(&reason).folded().0;
        let name = name.as_normalized().to_owned();
        let same = together.iter_mut().find(|other| {
            (&other.name, &other.version, &other.newest, &other.reason) == (&name, &version, &newest, &reason)
        });
        match same {
            Some(other) => other.subdirs.push(subdir.to_string()),
            None => together.push(HeldBack { name, version, newest, subdirs: vec![subdir.to_string()], reason }),
        }
    }
    together
}

/// One subdir to be solved.
struct SubdirSolve<'a> {
    image: &'a str,
    spec: &'a SubdirSpec,
    how: &'a Relock<'a>,
    client: &'a Client,
    progress: &'a dyn Progress,
}

impl SubdirSolve<'_> {
    async fn run(&self, channels: &[Channel]) -> Result<Outcome, Error> {
        let roots: Vec<PackageName> = self.spec.root_names().iter().filter_map(|name| name.parse().ok()).collect();
        let real = roots.into_iter().filter(|name| !name.as_normalized().starts_with("__"));
        let urls: Vec<MatchSpec> = self.spec.roots().map(|root| root.spec).filter(|spec| spec.url.is_some()).collect();
        let records = self.client.records_and_files(channels, self.spec.subdir, real, urls).await?;
        let records = Arc::new(records);
        self.warn_if_empty(&records);
        if let Some(explanation) = self.for_another_subdir(&records) {
            return Ok(Outcome::Unsolvable(explanation));
        }
        let unknown = self.unknown(&records);
        if !unknown.is_empty() {
            return Ok(Outcome::Unknown(unknown));
        }
        let (solution, held) = match self.solution(Arc::clone(&records)).await? {
            Ok(Moved { picks, held }) => (picks.into_values().map(Arc::unwrap_or_clone).collect::<Vec<_>>(), held),
            Err(explanation) => return Ok(Outcome::Unsolvable(explanation)),
        };
        for passed_over in unreadable(&records, &solution, &self.spec.root_names()) {
            self.progress.warning(&passed_over);
        }
        let mut packages = Vec::with_capacity(solution.len());
        for record in &solution {
            packages.push(LockedPackage::of(record, self.spec.subdir, self.client).await?);
        }
        match pip::solve(self.image, self.spec, self.how, &packages, self.client).await? {
            Ok(pip) => packages.extend(pip),
            Err(explanation) => return Ok(Outcome::Unsolvable(explanation)),
        }
        let packages = categorised(&packages, self.spec);
        Ok(Outcome::Solved { packages, held })
    }

    /// A channel without a subdir is empty to the gateway; silence about that would pass for a real answer.
    fn warn_if_empty(&self, records: &Records) {
        let subdir = self.spec.subdir;
        let of_subdir = |record: &RepoDataRecord| record.package_record.subdir == subdir.as_str();
        if !records.iter().flat_map(|data| data.iter()).any(of_subdir) {
            self.progress.warning(&format!("no channel of `{}` has anything for {subdir}", self.image));
        }
    }

    /// A package asked for by its URL that is not for this subdir, in words. No channel has sorted it out.
    fn for_another_subdir(&self, records: &Records) -> Option<String> {
        let fits = |record: &RepoDataRecord| {
            [self.spec.subdir.as_str(), "noarch"].contains(&record.package_record.subdir.as_str())
        };
        let mut others = records.iter().flat_map(|data| data.iter()).filter(|record| !fits(record));
        let wrong = others.find_map(|record| {
            let root = self.spec.roots().find(|root| root.spec.url.as_ref() == Some(&record.url))?;
            Some((root.dependency, &record.package_record.subdir))
        });
        let (line, subdir) = wrong?;
        let remedy = "keep it off with a selector (`# [linux64]`)";
        Some(format!("{}: `{}` is for {subdir}; {remedy}", line.place, line.spec))
    }

    /// Records outside of the subdirs that lines name (`channel/subdir::name`), which the solver does not look at.
    fn of_other_subdirs(&self, records: &Records) -> Vec<(Url, Arc<str>)> {
        let wanted = self.spec.roots().filter_map(|root| Some((root.spec.name.into_exact()?, root.spec.subdir?)));
        let wanted: Vec<(PackageName, String)> = wanted.collect();
        let other = |record: &&RepoDataRecord| {
            let package = &record.package_record;
            wanted.iter().any(|(name, subdir)| *name == package.name && *subdir != package.subdir)
        };
        let reason: Arc<str> = "it is not of the subdir that is asked for".into();
        let all = records.iter().filter(|_| !wanted.is_empty()).flat_map(|data| data.iter());
        all.filter(other).map(|record| (record.url.clone(), Arc::clone(&reason))).collect()
    }

    /// The requested names that no record has.
    fn unknown(&self, records: &Records) -> BTreeSet<String> {
        let known: BTreeSet<&str> = records
            .iter()
            .flat_map(|data| data.iter())
            .map(|record| record.package_record.name.as_normalized())
            .collect();
        let names = self.spec.root_names().into_iter();
        names.filter(|name| !name.starts_with("__") && !known.contains(name.as_str())).collect()
    }

    /// Runs the solver, on a thread of its own. The inner error is its explanation of why there is no solution.
    async fn solution(&self, records: Arc<Records>) -> Result<Result<Moved, String>, Error> {
        let cancel = CancelOnDrop(CancellationToken::new());
        let question = Question {
            specs: self.ordered_specs(),
            virtual_packages: self.spec.virtual_packages.iter().filter_map(VirtualPackage::generic).collect(),
            excluded: self.how.excluded(&records).into_iter().chain(self.of_other_subdirs(&records)).collect(),
            records: Arc::clone(&records),
            cancel: cancel.0.clone(),
            possible: OnceLock::new(),
        };
        let live = Live::new(&records, &question.specs);
        let of_lock = |lock: Option<&Lock>| lock.map(|lock| live.locked(lock, self.spec.subdir)).transpose();
        let mut locked = of_lock(self.how.existing)?.unwrap_or_default();
        let tolerated = tolerated(&mut locked.picks, &question.virtual_packages);
        for gone in &locked.gone {
            self.progress.note(&format!("`{gone}` is no longer offered for {}", self.spec.subdir));
        }
        let preferred = of_lock(self.how.like)?.unwrap_or_default();
        let wanted = Wanted {
            locked: locked.picks,
            preferred: preferred.picks,
            policy: self.how.policy,
            rebuilds: self.how.rebuilds,
            update: self.how.update_names(),
            along: self.how.along(self.spec.subdir),
            refresh: self.how.refresh_names(),
        };
        drop(live);
        let run = move || {
            let live = Live::new(&records, &question.specs);
            let moved = Movement { question: &question, live: &live, wanted: &wanted }.answer()?;
            Ok((validated(&moved.picks), moved))
        };
        match tokio::task::spawn_blocking(run).await.map_err(|panic| self.solver_error(panic.to_string()))? {
            Ok((Ok(()), moved)) => {
                self.tell_tolerated(&tolerated, &moved.picks);
                Ok(Ok(moved))
            }
            Ok((Err(reason), _)) => Err(self.solver_error(reason)),
            Err(SolveError::Unsolvable(reasons)) => Ok(Err(reasons.join("\n"))),
            Err(error) => Err(self.solver_error(error.to_string())),
        }
    }

    fn tell_tolerated(&self, tolerated: &[Tolerated], picks: &Picks) {
        for Tolerated { record, constraints } in tolerated {
            let package = &record.package_record;
            if picks.get(&package.name).is_some_and(|pick| pick.url == record.url) {
                let (name, version) = (package.name.as_normalized(), &package.version);
                self.progress.warning(&format!(
                    "`{name} {version}` stays on {}, though it constrains `{}`, which `virtual-packages.yml` does not promise",
                    self.spec.subdir,
                    constraints.join("`, `")
                ));
            }
        }
    }

    fn solver_error(&self, reason: String) -> Error {
        Error::Solver { image: self.image.to_owned(), subdir: self.spec.subdir, reason }
    }

    /// All specs, in an order that the order of lines has no part in, because the solver's answer depends on it: first
    /// what the lock before does not answer, then what is new, then the rest, each alphabetically.
    fn ordered_specs(&self) -> Vec<MatchSpec> {
        let mut specs: Vec<(u8, String, String, MatchSpec)> = Vec::new();
        for root in self.spec.roots() {
            let name = root.spec.name.as_exact().map_or("", |name| name.as_normalized()).to_owned();
            let rank = match self.locked(&name) {
                Some(package) if !satisfies(&root.spec, package) => 0,
                None => 1,
                Some(_) => 2,
            };
            specs.push((rank, name, root.dependency.spec.clone(), root.spec));
        }
        for name in self.spec.root_names() {
            if let (true, Ok(parsed)) =
                (self.spec.conda.iter().all(|spec| spec.name != name), name.parse::<PackageName>())
            {
                specs.push((2, name, String::new(), MatchSpec { name: parsed.into(), ..MatchSpec::default() }));
            }
        }
        specs.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
        specs.into_iter().map(|(.., spec)| spec).collect()
    }

    /// The conda package that the lock before has of this name.
    fn locked(&self, name: &str) -> Option<&LockedPackage> {
        let mut packages = self.how.existing.into_iter().flat_map(|lock| lock.packages_for(self.spec.subdir));
        packages.find(|package| package.manager == Manager::Conda && package.name == name)
    }
}

/// Whether every requirement and constraint among `records` is met: the solver is trusted, and checked.
fn validated(picks: &Picks) -> Result<(), String> {
    let records: Vec<&PackageRecord> = picks.values().map(|record| &record.package_record).collect();
    PackageRecord::validate(records).map_err(|error| error.to_string())
}
