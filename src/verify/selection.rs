//! Which checks run: all, unless somebody chooses.

use super::Error;
use super::checks::{ALL, Check};

/// Names of checks or of groups of checks to run or to leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// If any, only these run.
    pub only: Vec<String>,
    /// These do not run.
    pub skip: Vec<String>,
    /// Of the checks that run only when asked for, these run besides the others.
    pub with: Vec<String>,
}

impl Selection {
    /// Sees that every name means a check.
    ///
    /// # Errors
    /// [`Error::UnknownCheck`].
    pub fn check(&self) -> Result<(), Error> {
        match self.only.iter().chain(&self.skip).chain(&self.with).find(|name| !ALL.iter().any(|check| check.is(name)))
        {
            Some(name) => Err(Error::UnknownCheck { given: name.clone(), similar: similar(name) }),
            None => Ok(()),
        }
    }

    /// Why `check` does not run, if it does not.
    pub fn excludes(&self, check: &Check) -> Option<&'static str> {
        if self.skip.iter().any(|name| check.is(name)) {
            Some("it was skipped")
        } else if !self.only.is_empty() && !self.only.iter().any(|name| check.is(name)) {
            Some("other checks were chosen")
        } else if check.opt_in && !self.only.iter().chain(&self.with).any(|name| check.is(name)) {
            Some("it runs only when asked for, as by `--page`")
        } else {
            None
        }
    }
}

fn similar(given: &str) -> Option<String> {
    let groups = ALL.iter().filter_map(|check| check.name.split_once('.')).map(|(group, _)| group);
    let names = ALL.iter().map(|check| check.name).chain(groups);
    let scored = names.map(|name| (strsim::jaro_winkler(given, name), name)).filter(|(score, _)| *score > 0.8);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(only: &[&str], skip: &[&str]) -> Selection {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Selection { only: owned(only), skip: owned(skip), with: Vec::new() }
    }

    fn chosen(selection: &Selection) -> Vec<&'static str> {
        ALL.iter().filter(|check| selection.excludes(check).is_none()).map(|check| check.name).collect()
    }

    #[test]
    fn groups_and_names_choose() {
        let by_default: Vec<_> = ALL.iter().filter(|check| !check.opt_in).map(|check| check.name).collect();
        assert_eq!(chosen(&Selection::default()), by_default);
        assert_eq!(chosen(&Selection { with: vec!["page".to_owned()], ..Selection::default() }).len(), ALL.len());
        assert_eq!(chosen(&selection(&["page"], &[])), ["page.notebook"]);
        assert_eq!(
            chosen(&selection(&["dask", "hub.binder"], &["dask.commands"])),
            ["hub.binder", "dask.gateway-preload", "dask.scheduler-worker", "dask.local-cluster"]
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_with_a_suggestion() {
        assert!(selection(&["dask", "hub.binder"], &["jupyter"]).check().is_ok());
        let error = selection(&[], &["jupyter.sever"]).check().unwrap_err();
        assert_eq!(error.to_string(), "there is no check `jupyter.sever`: did you mean `jupyter.server`?");
        assert_eq!(selection(&["zzz"], &[]).check().unwrap_err().to_string(), "there is no check `zzz`");
    }
}
