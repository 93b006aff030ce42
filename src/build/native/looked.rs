//! Packages as a plan needs them: as they were described before, here or beside a published image, else out of their
//! archives.

use std::sync::Arc;

use super::candidates::Facts;
use super::described;
use super::engine::Engine;
use super::error::Error;
use super::pinned::Pinned;
use super::prefix::{Inspected, inspect};

/// See the module's documentation.
pub struct Looked {
    /// The packages with their names, in their order.
    pub packages: Vec<(String, Inspected)>,
    /// How each is known.
    sources: Vec<Source>,
}

/// How a package is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Out of its archive.
    Archive,
    /// Out of its archive, some other time; digests of files are not known.
    Kept,
    /// From somebody who says so.
    Published,
}

impl Looked {
    /// What a plan of layers has to know.
    pub fn facts(&self) -> Vec<Facts> {
        self.packages.iter().map(|(_, package)| package.facts()).collect()
    }

    /// Whether any of it was published.
    pub fn is_borrowed(&self) -> bool {
        self.sources.contains(&Source::Published)
    }

    /// The packages that have to be read before `error` is sure: of two that overlap the digests, of any other error what
    /// was not seen here.
    fn doubtful(&self, error: &Error) -> Vec<usize> {
        let sources = self.sources.iter().enumerate();
        let is_named =
            |index: usize, names: [&String; 2]| names.iter().any(|name| *name == self.packages[index].1.file_name());
        match error {
            Error::Overlap { package, other, .. } => sources
                .filter(|(index, source)| **source != Source::Archive && is_named(*index, [package, other]))
                .map(|(index, _)| index)
                .collect(),
            _ => sources.filter(|(_, source)| **source == Source::Published).map(|(index, _)| index).collect(),
        }
    }
}

impl Engine<'_> {
    /// Finds out about `packages`, for what errors and progress call `what`.
    pub(super) async fn look_into(&self, packages: &[Pinned], what: &str) -> Result<Looked, Error> {
        let task = self.task(&format!("looking up packages of {what}"), packages.len());
        let store = Arc::clone(&self.store);
        let known = move |package: Pinned| {
            Ok(described::known(&store, &package).and_then(|described| described.inspected(&package)))
        };
        let known = self.parallel(packages.to_vec(), &task, known).await?;
        drop(task);
        // What is here is not asked of others.
        let is_absent = |(package, known): (&Pinned, &Option<Inspected>)| known.is_none() && !package.is_on_disk();
        let published = match packages.iter().zip(&known).any(is_absent) {
            true => self.ask().await,
            false => None,
        };
        let mut sources = vec![Source::Kept; packages.len()];
        let mut found = Vec::new();
        for (index, (package, known)) in packages.iter().zip(known).enumerate() {
            found.push(known.or_else(|| {
                sources[index] = Source::Published;
                published.filter(|_| !package.is_on_disk())?.described(package)?.inspected(package)
            }));
        }
        let unknown: Vec<_> = (0..packages.len()).filter(|index| found[*index].is_none()).collect();
        let read = self.read(packages, &unknown, what).await?;
        for (index, inspected) in unknown.into_iter().zip(read) {
            (found[index], sources[index]) = (Some(inspected), Source::Archive);
        }
        let names = packages.iter().map(|package| package.name().to_owned());
        Ok(Looked { packages: names.zip(found.into_iter().flatten()).collect(), sources })
    }

    /// Reads the archives on which `error` depends, if there are any that were not.
    pub(super) async fn look_again(
        &self,
        looked: &mut Looked,
        packages: &[Pinned],
        error: Error,
        what: &str,
    ) -> Result<(), Error> {
        let doubtful = looked.doubtful(&error);
        if doubtful.is_empty() {
            return Err(error);
        }
        let read = self.read(packages, &doubtful, what).await?;
        for (index, inspected) in doubtful.into_iter().zip(read) {
            (looked.packages[index].1, looked.sources[index]) = (inspected, Source::Archive);
        }
        Ok(())
    }

    /// Reads the archives of those of `packages` with these `indices`, and keeps what they say.
    async fn read(&self, packages: &[Pinned], indices: &[usize], what: &str) -> Result<Vec<Inspected>, Error> {
        let packages: Vec<_> = indices.iter().map(|index| packages[*index].clone()).collect();
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        self.fetch(&packages).await?;
        let task = self.task(&format!("reading packages of {what}"), packages.len());
        let store = Arc::clone(&self.store);
        let read = move |package: Pinned| {
            let (_, inspected) = inspect(&package)?;
            described::remember(&store, &package, &inspected)?;
            Ok(inspected)
        };
        self.parallel(packages, &task, read).await
    }
}
