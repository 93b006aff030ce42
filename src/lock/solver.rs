//! rattler's solver: one question, put twice where there is a lock to keep.

use std::sync::Arc;

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, RepoDataRecord};
use rattler_solve::resolvo::Solver;
use rattler_solve::{CancellationToken, ChannelPriority, SolveError, SolveStrategy, SolverImpl, SolverTask};

use crate::channel::Records;

/// What the solver is asked.
pub(super) struct Question {
    /// All that is available.
    pub records: Arc<Records>,
    /// Records to keep if at all possible.
    pub keep: Vec<Arc<RepoDataRecord>>,
    /// What must be there, in the order the solver decides.
    pub specs: Vec<MatchSpec>,
    /// What is there anyway.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

/// Stops the solver when nobody waits for it any more.
pub(super) struct CancelOnDrop(pub CancellationToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Question {
    /// The solver's answer, checked by nobody yet.
    ///
    /// The solver gives a preference up at the first conflict, also where another order would have found none. So it is
    /// first asked to change nothing that still answers the specs, and only then to keep what it can.
    pub fn answer(self, cancel: &CancellationToken) -> Result<Vec<RepoDataRecord>, SolveError> {
        if !self.keep.is_empty() {
            let pinned = self.keep.iter().map(AsRef::as_ref).filter(|record| self.allows(record)).collect();
            match self.solve(pinned, vec![], cancel) {
                Err(SolveError::Unsolvable(_)) => {}
                other => return other,
            }
        }
        self.solve(vec![], self.keep.iter().map(AsRef::as_ref).collect(), cancel)
    }

    fn allows(&self, record: &RepoDataRecord) -> bool {
        let name = &record.package_record.name;
        let about = self.specs.iter().filter(|spec| spec.name.as_exact() == Some(name));
        about.into_iter().all(|spec| spec.matches(record))
    }

    fn solve<'a>(
        &'a self,
        pinned_packages: Vec<&'a RepoDataRecord>,
        locked_packages: Vec<&'a RepoDataRecord>,
        cancel: &CancellationToken,
    ) -> Result<Vec<RepoDataRecord>, SolveError> {
        let task = SolverTask {
            pinned_packages,
            locked_packages,
            virtual_packages: self.virtual_packages.clone(),
            specs: self.specs.clone(),
            channel_priority: ChannelPriority::Strict,
            strategy: SolveStrategy::Highest,
            cancellation_token: Some(cancel.clone()),
            ..self.records.iter().map(|data| data.iter()).collect()
        };
        Solver.solve(task).map(|result| result.records)
    }
}
