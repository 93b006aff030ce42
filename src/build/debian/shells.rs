//! `/etc/shells`: the shells that packages say they are, as `update-shells` lists them (shells(5)).

use super::error::Error;
use super::tree::Tree;

/// The file, relative to the root.
const FILE: &str = "etc/shells";
/// What is listed so far of what packages have.
const STATE: &str = "var/lib/shells.state";
/// How the file begins.
const TEMPLATE: &str = "usr/share/debianutils/shells";
/// Where packages say that they are shells.
const FOLDER: &str = "usr/share/debianutils/shells.d";

/// Writes the file of a new system.
///
/// # Errors
/// When the temporary file cannot be read or written.
pub fn update(tree: &mut Tree, time: u64) -> Result<(), Error> {
    let Some(template) = tree.added_bytes(TEMPLATE)?.filter(|_| tree.get(FILE).is_none()) else { return Ok(()) };
    let mut text = String::from_utf8_lossy(&template).into_owned();
    let files: Vec<String> = tree.below(FOLDER).map(|(path, _)| path.to_owned()).collect();
    let mut declared = vec![text.clone()];
    for path in files {
        declared.extend(tree.added_bytes(&path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    }
    let mut shells: Vec<String> = Vec::new();
    for line in declared.iter().flat_map(|text| text.lines()) {
        let shell = line.split('#').next().unwrap_or_default().trim();
        let place = tree.locate(shell).ok().map(|place| format!("/{place}"));
        let spellings = [Some(shell.to_owned()), place].into_iter().flatten().filter(|one| one.len() > 1);
        for spelling in spellings {
            if !shells.contains(&spelling) {
                shells.push(spelling);
            }
        }
    }
    for shell in &shells {
        if text.lines().all(|line| line.split('#').next().map(str::trim) != Some(shell)) {
            text.push_str(&format!("{shell}\n"));
        }
    }
    tree.write(FILE, text.as_bytes(), 0o644, time)?;
    let state: String = shells.iter().map(|shell| format!("{shell}\n")).collect();
    tree.write(STATE, state.as_bytes(), 0o644, time)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    #[test]
    fn shells_are_listed_by_both_their_names() {
        let mut tree = tree(&["etc/", "usr/", "usr/bin/", "bin -> usr/bin"]);
        tree.write(TEMPLATE, b"# valid\n/bin/sh\n", 0o644, 1).unwrap();
        tree.write("usr/share/debianutils/shells.d/dash", b"/bin/dash # small\n", 0o644, 1).unwrap();
        tree.write("usr/share/debianutils/shells.d/bash", b"/usr/bin/bash\n", 0o644, 1).unwrap();
        update(&mut tree, 5).unwrap();
        let text = |tree: &mut Tree, path| String::from_utf8(tree.added_bytes(path).unwrap().unwrap()).unwrap();
        let shells = "/bin/sh\n/usr/bin/sh\n/usr/bin/bash\n/bin/dash\n/usr/bin/dash\n";
        assert_eq!(text(&mut tree, STATE), shells);
        assert_eq!(text(&mut tree, FILE), "# valid\n/bin/sh\n/usr/bin/sh\n/usr/bin/bash\n/bin/dash\n/usr/bin/dash\n");
    }
}
