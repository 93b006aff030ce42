//! Solving: records from channels, rattler's solver, one subdir beside the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future;
use rattler_conda_types::{Channel, MatchSpec, PackageName, PackageRecord, RepoDataRecord};
use rattler_solve::{CancellationToken, SolveError};

use super::favour::{Favoured, favoured};
use super::holds::{pip_name, satisfies, unanswered_pip};
use super::outcome::{Outcome, collect};
use super::record::unreadable;
use super::solver::{CancelOnDrop, Question};
use super::{Error, Lock, LockSpec, LockedChannel, LockedPackage, Manager, SubdirSpec, VirtualPackage};
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
    let channels = spec.resolved_channels()?;
    spec.warnings().for_each(|warning| progress.warning(&warning));
    let label = format!("solving {}", spec.image);
    let task = Task::start(progress, &label, Some(spec.subdirs.len() as u64), Unit::Count);
    let solves = spec.subdirs.iter().map(|subdir| async {
        let solve = SubdirSolve { image: &spec.image, spec: subdir, existing, client, progress };
        let outcome = solve.run(&channels).await?;
        task.advance(1);
        Ok::<_, Error>(outcome)
    });
    let outcomes = future::join_all(solves).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let packages = collect(spec, outcomes, &channels, client).await?;
    let mut lock = Lock {
        channels: spec.channels.iter().map(|channel| LockedChannel::of(channel)).collect(),
        subdirs: spec.subdirs.iter().map(|subdir| subdir.subdir).collect(),
        content_hash: spec.subdirs.iter().map(|subdir| (subdir.subdir, subdir.content_hash.clone())).collect(),
        sources: spec.sources.clone(),
        packages,
    };
    lock.sort();
    Ok(lock)
}

/// One subdir to be solved.
struct SubdirSolve<'a> {
    image: &'a str,
    spec: &'a SubdirSpec,
    existing: Option<&'a Lock>,
    client: &'a Client,
    progress: &'a dyn Progress,
}

impl SubdirSolve<'_> {
    async fn run(&self, channels: &[Channel]) -> Result<Outcome, Error> {
        let pip = self.kept_pip()?;
        let roots: Vec<PackageName> = self.spec.root_names().iter().filter_map(|name| name.parse().ok()).collect();
        let real = roots.into_iter().filter(|name| !name.as_normalized().starts_with("__"));
        let records = Arc::new(self.client.records(channels, self.spec.subdir, real).await?);
        self.warn_if_empty(&records);
        let unknown = self.unknown(&records);
        if !unknown.is_empty() {
            return Ok(Outcome::Unknown(unknown));
        }
        let solution = match self.solution(Arc::clone(&records)).await? {
            Ok(solution) => solution,
            Err(explanation) => return Ok(Outcome::Unsolvable(explanation)),
        };
        for passed_over in unreadable(&records, &solution, &self.spec.root_names()) {
            self.progress.warning(&passed_over);
        }
        self.check_pip_fits(&pip, &solution)?;
        let mut packages = Vec::with_capacity(solution.len() + pip.len());
        for record in &solution {
            let category = self.category(record.package_record.name.as_normalized());
            packages.push(LockedPackage::of(record, self.spec.subdir, category, self.client).await?);
        }
        packages.extend(pip);
        Ok(Outcome::Solved(packages))
    }

    /// A channel without a subdir is empty to the gateway; silence about that would pass for a real answer.
    fn warn_if_empty(&self, records: &Records) {
        let subdir = self.spec.subdir;
        let of_subdir = |record: &RepoDataRecord| record.package_record.subdir == subdir.as_str();
        if !records.iter().flat_map(|data| data.iter()).any(of_subdir) {
            self.progress.warning(&format!("no channel of `{}` has anything for {subdir}", self.image));
        }
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
    async fn solution(&self, records: Arc<Records>) -> Result<Result<Vec<RepoDataRecord>, String>, Error> {
        let keep = match self.existing {
            Some(lock) => favoured(lock, self.spec.subdir, &records)?,
            None => Favoured::default(),
        };
        for gone in &keep.gone {
            self.progress.note(&format!("`{gone}` is no longer offered for {}", self.spec.subdir));
        }
        let question = Question {
            records,
            keep: keep.records,
            specs: self.ordered_specs(),
            virtual_packages: self.spec.virtual_packages.iter().filter_map(VirtualPackage::generic).collect(),
        };
        let cancel = CancelOnDrop(CancellationToken::new());
        let token = cancel.0.clone();
        let run = move || question.answer(&token).map(|records| (validated(&records), records));
        match tokio::task::spawn_blocking(run).await.map_err(|panic| self.solver_error(panic.to_string()))? {
            Ok((Ok(()), solution)) => Ok(Ok(solution)),
            Ok((Err(reason), _)) => Err(self.solver_error(reason)),
            Err(SolveError::Unsolvable(reasons)) => Ok(Err(reasons.join("\n"))),
            Err(error) => Err(self.solver_error(error.to_string())),
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

    /// The locked pip packages, if they answer all that is asked of pip.
    fn kept_pip(&self) -> Result<Vec<LockedPackage>, Error> {
        if self.spec.pip.is_empty() {
            return Ok(Vec::new());
        }
        let locked = self.existing.into_iter().flat_map(|lock| lock.packages_for(self.spec.subdir));
        let pip: BTreeMap<String, &LockedPackage> = locked
            .filter(|package| package.manager == Manager::Pip)
            .map(|package| (pip_name(&package.name), package))
            .collect();
        if let Some(line) = unanswered_pip(self.spec, &pip).next() {
            return Err(Error::PipUnsupported { place: line.place.clone(), requirement: line.spec.clone() });
        }
        Ok(pip.into_values().cloned().collect())
    }

    /// Locked pip packages may be for one minor version of python only: another one asks for another answer.
    fn check_pip_fits(&self, pip: &[LockedPackage], solution: &[RepoDataRecord]) -> Result<(), Error> {
        let minor = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
        let is_python = |record: &&RepoDataRecord| record.package_record.name.as_normalized() == "python";
        let now = solution.iter().find(is_python).map(|record| minor(&record.package_record.version.as_str()));
        let before = self.locked("python").map(|package| minor(&package.version));
        match self.spec.pip.iter().flat_map(|spec| &spec.dependencies).next() {
            Some(line) if !pip.is_empty() && now != before => {
                Err(Error::PipUnsupported { place: line.place.clone(), requirement: line.spec.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The conda package that the lock before has of this name.
    fn locked(&self, name: &str) -> Option<&LockedPackage> {
        let mut packages = self.existing.into_iter().flat_map(|lock| lock.packages_for(self.spec.subdir));
        packages.find(|package| package.manager == Manager::Conda && package.name == name)
    }

    /// The category of a requested package; `main` for what it brings along.
    fn category(&self, name: &str) -> &str {
        self.spec.conda.iter().find(|spec| spec.name == name).map_or("main", |spec| spec.category.as_str())
    }
}

/// Whether every requirement and constraint among `records` is met: the solver is trusted, and checked.
fn validated(records: &[RepoDataRecord]) -> Result<(), String> {
    let records: Vec<&PackageRecord> = records.iter().map(|record| &record.package_record).collect();
    PackageRecord::validate(records).map_err(|error| error.to_string())
}
