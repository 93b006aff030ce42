//! Plans every environment: who wins each path, which packages share a layer, what each part depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::candidates::{Facts, candidate, known, remember};
use super::debian;
use super::engine::{Engine, MAX_LAYERS};
use super::error::Error;
use super::fragment::{Fragment, Target};
use super::interpreter::Interpreter;
use super::layer::PackageLayer;
use super::looked::Looked;
use super::pinned::{Pinned, pin};
use super::plan::{Group, LayerPlan};
use super::prefix::PrefixPlan;
use super::store;
use super::{Environment, LOWER_LAYERS};
use crate::oci::Platform;

/// One environment of one platform.
pub struct PlannedEnvironment {
    /// Its packages.
    pub packages: Vec<Pinned>,
    /// Those of the images it extends.
    pub inherited: Vec<Pinned>,
    /// Its layers, the lowest first.
    pub layers: Vec<PackageLayer>,
    /// What compiles its byte code, if there is any to compile.
    pub interpreter: Option<Interpreter>,
    /// When its newest package was built, in seconds since 1970.
    pub newest: u64,
}

impl Engine<'_> {
    /// Plans the environments of `platform`.
    pub(super) async fn plan_platform(&self, platform: Platform) -> Result<Vec<PlannedEnvironment>, Error> {
        let base = self.base(platform)?.layers.len();
        // One layer is the last one, one that of Debian packages, and every environment needs at least one.
        let debian = usize::from(!debian::packages(self.request, platform).is_empty());
        let mut room = MAX_LAYERS.saturating_sub(base + 1 + debian);
        let mut planned = Vec::new();
        for (index, environment) in self.request.environments.iter().enumerate() {
            let others = self.request.environments.len() - index - 1;
            let wanted = if others > 0 { environment.layers.min(LOWER_LAYERS) } else { environment.layers };
            let limit = wanted.max(1).min(room.saturating_sub(others));
            if limit == 0 {
                return Err(Error::TooManyLayers { platform, base, limit: MAX_LAYERS });
            }
            let environment = self.plan_environment(environment, platform, limit).await?;
            room -= environment.layers.len().min(room);
            planned.push(environment);
        }
        Ok(planned)
    }

    async fn plan_environment(
        &self,
        environment: &Environment<'_>,
        platform: Platform,
        limit: usize,
    ) -> Result<PlannedEnvironment, Error> {
        let packages = pin(environment.lock, platform.subdir(), environment.prefix, self.client).await?;
        let plan = self.plan_prefix(environment, &packages, platform).await?;
        let interpreter = self.interpreter(environment, &plan).await?;
        let target = Arc::new(Target {
            prefix: environment.prefix.to_owned(),
            python: plan.python.clone(),
            compiler_id: interpreter.as_ref().map(|interpreter| interpreter.id.clone()),
            compression: self.request.compression,
        });
        let facts = plan.packages.iter().map(|planned| Facts { size: planned.size, built: planned.timestamp });
        let candidates: Vec<_> = packages.iter().zip(facts).map(|(package, facts)| candidate(package, facts)).collect();
        let (inherited, groups) = self.inherited(environment, platform).await?;
        let fragment = |index: usize| {
            let (package, planned) = (packages[index].clone(), plan.packages[index].clone());
            let asked = environment.asked(&package.locked);
            Fragment::new(package, planned, asked, &target)
        };
        let layers = LayerPlan::new(&candidates, limit, &groups).layers.into_iter();
        let layers = layers.map(|layer| PackageLayer::new(layer.into_iter().map(fragment).collect())).collect();
        let newest = plan.packages.iter().map(|package| package.timestamp).max().unwrap_or_default();
        Ok(PlannedEnvironment { packages, inherited, layers, interpreter, newest })
    }

    /// The layers of the image that `environment` extends, which are a function of its lock and of those it extends.
    /// The packages of those locks come with them.
    async fn inherited(
        &self,
        environment: &Environment<'_>,
        platform: Platform,
    ) -> Result<(Vec<Pinned>, Vec<Group>), Error> {
        let subdir = platform.subdir();
        let mut groups = Vec::new();
        let mut all = Vec::new();
        for parent in environment.parents.iter().filter(|parent| parent.lock.subdirs.contains(&subdir)) {
            let packages = pin(parent.lock, subdir, environment.prefix, self.client).await?;
            let facts = self.facts(&packages, platform).await?;
            let facts = packages.iter().zip(facts);
            let candidates: Vec<_> = facts.map(|(package, facts)| candidate(package, facts)).collect();
            groups = LayerPlan::new(&candidates, parent.layers, &groups).groups(&candidates);
            all.extend(packages);
        }
        Ok((all, groups))
    }

    /// What the plan has to know of `packages`, looked up once for each set of them.
    async fn facts(&self, packages: &[Pinned], platform: Platform) -> Result<Vec<Facts>, Error> {
        if let Some(facts) = known(&self.store, packages) {
            return Ok(facts);
        }
        let looked = self.look_into(packages, &format!("the parent for {platform}")).await?;
        if !looked.is_borrowed() {
            remember(&self.store, packages, &looked.facts())?;
        }
        Ok(looked.facts())
    }

    /// Reads every package's list of files, once for each set of packages.
    async fn plan_prefix(
        &self,
        environment: &Environment<'_>,
        packages: &[Pinned],
        platform: Platform,
    ) -> Result<PrefixPlan, Error> {
        let skipped: BTreeSet<&String> = environment.skip_link_scripts.iter().collect();
        let contents: Vec<_> = packages.iter().map(|package| (package.name(), &package.sha256)).collect();
        let key = store::key("plans", &(environment.prefix, &skipped, environment.strip.texts(), contents));
        if let Some(plan) = self.store.get::<PrefixPlan>("plans", &key)
            && plan.packages.iter().map(|planned| planned.name.as_str()).eq(packages.iter().map(Pinned::name))
        {
            return Ok(plan);
        }
        let what = platform.to_string();
        let mut looked = self.look_into(packages, &what).await?;
        loop {
            let (prefix, skip) = (environment.prefix.to_owned(), environment.skip_link_scripts.to_vec());
            let strip = environment.strip.clone();
            let plan = move |looked: Looked| {
                let plan = PrefixPlan::new(&looked.packages, &prefix, &skip, &strip);
                Ok((looked, plan))
            };
            let task = self.task(&format!("planning the prefix of {what}"), 1);
            let planned = self.parallel(vec![looked], &task, plan).await?.into_iter().next();
            drop(task);
            let (seen, plan) = planned.expect("one result for one item");
            looked = seen;
            match plan {
                Err(error) => self.look_again(&mut looked, packages, error, &what).await?,
                // What others say of packages is good for this build alone.
                Ok(plan) if looked.is_borrowed() => return Ok(plan),
                Ok(plan) => {
                    self.store.put("plans", &key, &plan)?;
                    return Ok(plan);
                }
            }
        }
    }

    async fn interpreter(
        &self,
        environment: &Environment<'_>,
        plan: &PrefixPlan,
    ) -> Result<Option<Interpreter>, Error> {
        let Some(python) = plan.python.as_ref().filter(|_| plan.packages.iter().any(|package| package.compiles)) else {
            return Ok(None);
        };
        let packages = match Interpreter::subdir().0 {
            Some(subdir) if environment.lock.subdirs.contains(&subdir) => {
                pin(environment.lock, subdir, environment.prefix, self.client).await?
            }
            _ => vec![],
        };
        Interpreter::choose(&packages, &python.version(), environment.prefix).map(Some)
    }
}
