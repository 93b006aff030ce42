//! Where templates come from: the project's `templates/`, else those inside esker.
//!
//! A template of the project may stand in place of one of esker's, or change some blocks of it:
//! `{% extends "esker/base-image.Dockerfile" %}`.

use std::path::{Path, PathBuf};

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::Error;

/// The project's folder of templates.
pub const FOLDER: &str = "templates";

/// esker's own templates for files of a Docker build.
const OWN: [(&str, &str); 4] = [
    ("base-image.Dockerfile", include_str!("../../templates/base-image.Dockerfile")),
    ("notebook.Dockerfile", include_str!("../../templates/notebook.Dockerfile")),
    ("dockerignore", include_str!("../../templates/dockerignore")),
    ("onbuild.sh", include_str!("../../templates/onbuild.sh")),
];

/// Templates of a project over esker's.
pub struct Templates {
    folder: PathBuf,
}

impl Templates {
    /// The templates of the project in `root`.
    pub fn of(root: &Path) -> Self {
        Self { folder: root.join(FOLDER) }
    }

    /// Renders the first of `names` that the project has, else the last, which esker has. The template sees under
    /// `template` which one it is.
    ///
    /// # Errors
    /// [`Error::Template`], and [`Error::Read`] of a template that cannot be read.
    pub fn render(&self, names: &[&str], context: Value) -> Result<String, Error> {
        let of_project = names.iter().find(|name| self.folder.join(name).is_file());
        let (name, template) = match (of_project, names) {
            (Some(name), _) => ((*name).to_owned(), format!("{FOLDER}/{name}")),
            (None, [.., name]) => (format!("esker/{name}"), format!("esker/{name}")),
            (None, []) => (String::new(), String::new()),
        };
        let context = minijinja::context! { template => template, ..context };
        let environment = self.environment();
        let rendered = environment.get_template(&name).and_then(|found| found.render(context));
        rendered.map_err(|source| Error::Template { name: template, source })
    }

    fn environment(&self) -> Environment<'static> {
        let folder = self.folder.clone();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_keep_trailing_newline(true);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_loader(move |name| match name.strip_prefix("esker/") {
            Some(own) => Ok(own_template(own)),
            None => of_project(&folder, name),
        });
        environment
    }
}

/// A template of the project. What it includes or extends lies in the same folder.
fn of_project(folder: &Path, name: &str) -> Result<Option<String>, minijinja::Error> {
    if name.split('/').any(|part| part == "..") || name.starts_with('/') {
        return Ok(None);
    }
    match fs_err::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(minijinja::Error::new(ErrorKind::TemplateNotFound, "it cannot be read").with_source(error)),
    }
}

fn own_template(name: &str) -> Option<String> {
    OWN.iter().find(|(own, _)| *own == name).map(|(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn a_project_changes_a_block_or_all() {
        let root = tempfile::tempdir().unwrap();
        let templates = Templates::of(root.path());
        let paths = context! { paths => ["a"] };
        let own = templates.render(&["x.ignore", "dockerignore"], paths.clone()).unwrap();
        assert!(own.ends_with("**\n!a\n"));
        std::fs::create_dir(root.path().join(FOLDER)).unwrap();
        std::fs::write(root.path().join("templates/dockerignore"), "{{ paths[0] }} {{ template }}\n").unwrap();
        assert_eq!(templates.render(&["x", "dockerignore"], paths.clone()).unwrap(), "a templates/dockerignore\n");
        std::fs::write(root.path().join("templates/x"), "{% include '../../etc/passwd' %}").unwrap();
        assert!(templates.render(&["x", "dockerignore"], paths.clone()).is_err());
        std::fs::write(root.path().join("templates/x"), "{{ nothing }}").unwrap();
        let error = templates.render(&["x", "dockerignore"], paths).unwrap_err();
        assert_eq!(error.to_string(), "template `templates/x` cannot be rendered");
    }
}
