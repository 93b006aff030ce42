//! What a package's words about its licence mean to SPDX.

use std::collections::BTreeMap;

use spdx::{AdditionItem, Expression, LicenseItem};

use super::identifier;

/// A declared licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum License {
    /// Nothing is declared.
    Unknown,
    /// An SPDX expression; references in it to licences that SPDX does not list, with what is known of them.
    Expression(String, BTreeMap<String, String>),
    /// Words that are no SPDX expression.
    Named(String),
}

impl License {
    /// Reads what a package declares. Nothing is guessed: `Apache 2.0` stays what it is.
    pub fn of(declared: Option<&str>) -> Self {
        let Some(declared) = declared.map(str::trim).filter(|text| !text.is_empty()) else { return Self::Unknown };
        match Expression::parse(declared).ok().as_ref().and_then(references) {
            Some(references) => Self::Expression(declared.to_owned(), references),
            None => Self::Named(declared.to_owned()),
        }
    }

    /// As an SPDX expression, and the licences in it that SPDX does not list: identifier and the maker's words.
    pub fn expression(&self) -> (String, BTreeMap<String, String>) {
        match self {
            Self::Unknown => ("NOASSERTION".to_owned(), BTreeMap::new()),
            Self::Expression(text, references) => (text.clone(), references.clone()),
            Self::Named(name) => {
                let id = format!("LicenseRef-{}", identifier(name));
                (id.clone(), BTreeMap::from([(id, name.clone())]))
            }
        }
    }
}

/// The references in `expression`; `None` if one is into another document, which is not at hand, or is of an exception,
/// which SPDX 2.3 does not know.
fn references(expression: &Expression) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for requirement in expression.requirements() {
        if matches!(requirement.req.addition, Some(AdditionItem::Other(_))) {
            return None;
        }
        if let LicenseItem::Other(reference) = &requirement.req.license {
            if reference.doc_ref.is_some() {
                return None;
            }
            found.insert(format!("LicenseRef-{}", reference.lic_ref), reference.lic_ref.clone());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_spdx_knows_is_an_expression() {
        let spdx = |text: &str| License::of(Some(text)).expression();
        for plain in ["MIT", "Apache-2.0 WITH LLVM-exception", "(MIT OR GPL-3.0-or-later) AND PSF-2.0"] {
            assert_eq!(spdx(plain), (plain.to_owned(), BTreeMap::new()));
        }
        let reference = "LicenseRef-NVIDIA-End-User-License-Agreement";
        let expected = [(reference.to_owned(), "NVIDIA-End-User-License-Agreement".to_owned())];
        assert_eq!(spdx(reference), (reference.to_owned(), expected.into()));
        for words in ["BSD", "Apache 2.0", "MIT/X11", "GPL-2.0-or-later AND", "DocumentRef-x:LicenseRef-y"] {
            let (id, names) = spdx(words);
            assert!(id.starts_with("LicenseRef-"), "{words}: {id}");
            assert_eq!(names, BTreeMap::from([(id, words.to_owned())]));
        }
        assert_eq!(License::of(Some(" ")), License::Unknown);
        assert_eq!(License::of(None).expression().0, "NOASSERTION");
    }
}
