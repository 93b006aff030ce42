//! Alternatives: several packages' commands of one name, of which the one with the highest priority is linked
//! (update-alternatives(1)). State is kept in dpkg's folder, in update-alternatives' own format.

use std::collections::BTreeMap;

use super::error::Error;
use super::tree::{Content, Tree};

/// Where the state of each name is, relative to the root.
pub const STATE: &str = "var/lib/dpkg/alternatives";
/// Where the links lead through, relative to the root.
const LINKS: &str = "etc/alternatives";

/// One choice for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The generic path: `/usr/bin/pager`.
    pub link: String,
    /// The name: `pager`.
    pub name: String,
    /// What it leads to: `/usr/bin/less`.
    pub path: String,
    /// The higher, the better.
    pub priority: i32,
    /// What follows it: link, name and path of each.
    pub slaves: Vec<(String, String, String)>,
}

/// Reads the arguments of `update-alternatives`; `None` where a first installation has nothing to do.
///
/// # Errors
/// What is not understood.
pub fn read(arguments: &[String]) -> Result<Option<Alternative>, String> {
    let mut words = arguments.iter().map(String::as_str);
    let mut word = || words.next().ok_or_else(|| "`update-alternatives` lacks an argument".to_owned());
    let action = loop {
        match word()? {
            "--quiet" | "--verbose" | "--force" => {}
            other => break other.to_owned(),
        }
    };
    match action.as_str() {
        "--install" => {}
        "--remove" | "--remove-all" | "--auto" => return Ok(None),
        other => return Err(format!("`update-alternatives {other}` is not known")),
    }
    let (link, name, path) = (place(word()?)?, plain(word()?)?, place(word()?)?);
    let priority = word()?;
    let priority = priority.parse().map_err(|_| format!("`{priority}` is no priority"))?;
    let mut slaves = Vec::new();
    while let Ok(option) = word() {
        match option {
            "--slave" => slaves.push((place(word()?)?, plain(word()?)?, place(word()?)?)),
            "--quiet" | "--verbose" | "--force" => {}
            other => return Err(format!("`update-alternatives` has the option `{other}`")),
        }
    }
    Ok(Some(Alternative { link, name, path, priority, slaves }))
}

fn place(path: &str) -> Result<String, String> {
    let is_plain = path.starts_with('/') && !path.contains('\n') && path.split('/').all(|part| part != "..");
    if is_plain { Ok(path.to_owned()) } else { Err(format!("`{path}` is no path for an alternative")) }
}

fn plain(name: &str) -> Result<String, String> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\n', ' ']);
    if is_plain { Ok(name.to_owned()) } else { Err(format!("`{name}` is no name of an alternative")) }
}

/// All that is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    /// Whether somebody chose by hand.
    manual: bool,
    link: String,
    /// Link by name of each slave.
    slaves: BTreeMap<String, String>,
    /// Priority, and path by name of each slave, by path.
    choices: BTreeMap<String, (i32, BTreeMap<String, String>)>,
}

impl Group {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut group = Self { manual: lines.next()? == "manual", link: lines.next()?.to_owned(), ..Self::default() };
        loop {
            match lines.next()? {
                "" => break,
                name => drop(group.slaves.insert(name.to_owned(), lines.next()?.to_owned())),
            }
        }
        while let Some(path) = lines.next().filter(|path| !path.is_empty()) {
            let priority = lines.next()?.parse().ok()?;
            let mut slaves = BTreeMap::new();
            for name in group.slaves.keys() {
                match lines.next()? {
                    "" => {}
                    path => drop(slaves.insert(name.clone(), path.to_owned())),
                }
            }
            group.choices.insert(path.to_owned(), (priority, slaves));
        }
        Some(group)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", if self.manual { "manual" } else { "auto" }, self.link);
        text.extend(self.slaves.iter().map(|(name, link)| format!("{name}\n{link}\n")));
        text.push('\n');
        for (path, (priority, slaves)) in &self.choices {
            text.push_str(&format!("{path}\n{priority}\n"));
            text.extend(self.slaves.keys().map(|name| format!("{}\n", slaves.get(name).map_or("", String::as_str))));
        }
        text.push('\n');
        text
    }

    fn add(&mut self, alternative: &Alternative) {
        self.link.clone_from(&alternative.link);
        let mut slaves = BTreeMap::new();
        for (link, name, path) in &alternative.slaves {
            self.slaves.insert(name.clone(), link.clone());
            slaves.insert(name.clone(), path.clone());
        }
        self.choices.insert(alternative.path.clone(), (alternative.priority, slaves));
    }

    /// The choice with the highest priority; of equal ones the first by path.
    fn best(&self) -> Option<(&String, &BTreeMap<String, String>)> {
        let best = self.choices.iter().rev().max_by_key(|(_, (priority, _))| *priority)?;
        Some((best.0, &best.1.1))
    }
}

/// Adds `alternatives` to what the base has (`state`, by path), and links the best of each name.
///
/// # Errors
/// When the base's state cannot be understood, or a link would stand where a package has a file.
pub fn apply(
    alternatives: &[Alternative],
    state: &BTreeMap<String, Vec<u8>>,
    tree: &mut Tree,
    time: u64,
) -> Result<(), Error> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for alternative in alternatives {
        if !groups.contains_key(alternative.name.as_str()) {
            let path = format!("{STATE}/{}", alternative.name);
            let text = state.get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let bad = || Error::Base { reason: format!("`/{path}` cannot be understood") };
            let group = text.map_or(Ok(Group::default()), |text| Group::parse(&text).ok_or_else(bad))?;
            groups.insert(&alternative.name, group);
        }
        if let Some(group) = groups.get_mut(alternative.name.as_str()) {
            group.add(alternative);
        }
    }
    for (name, group) in groups {
        tree.write(&format!("{STATE}/{name}"), group.text().as_bytes(), 0o644, time)?;
        let Some((path, slaves)) = group.best().filter(|_| !group.manual) else { continue };
        link(tree, &group.link, name, Some(path), time)?;
        for (slave, slave_link) in &group.slaves {
            // What a slim base leaves out, no link leads to.
            let target = slaves.get(slave).filter(|path| tree.follow(path).is_some());
            link(tree, slave_link, slave, target, time)?;
        }
    }
    Ok(())
}

/// `link` → `/etc/alternatives/NAME` → `target`; neither if there is none.
fn link(tree: &mut Tree, link: &str, name: &str, target: Option<&String>, time: u64) -> Result<(), Error> {
    let fault = |reason: String| Error::Base { reason: format!("`{link}`, which alternatives link, {reason}") };
    let place = tree.locate(link).map_err(fault)?;
    let found = tree.get(&place).map(|node| &node.content);
    if !matches!(found, None | Some(Content::Symlink(_))) {
        // As update-alternatives does: what is no link is not touched.
        return Ok(());
    }
    let is_there = found.is_some();
    let through = format!("{LINKS}/{name}");
    match target {
        Some(target) => {
            tree.link(&through, target, time);
            tree.link(&place, &format!("/{through}"), time);
        }
        None => {
            tree.remove(&through);
            if is_there {
                tree.remove(&place);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn alternative(text: &str) -> Alternative {
        read(&arguments(&format!("--install {text}"))).unwrap().unwrap()
    }

    /// As `update-alternatives --install` left it, for two choices.
    const PAGER: &str = "auto\n/usr/bin/pager\npager.1.gz\n/usr/share/man/man1/pager.1.gz\n\n/bin/more\n50\n\
        /usr/share/man/man1/more.1.gz\n\n";

    #[test]
    fn state_is_written_as_it_is_read() {
        assert_eq!(Group::parse(PAGER).unwrap().text(), PAGER);
        for end in 0..PAGER.len() - 2 {
            drop(Group::parse(&PAGER[..end]));
        }
    }

    #[test]
    fn the_best_choice_is_linked() {
        let mut tree = tree(&[
            "usr/bin/less",
            "usr/bin/pager -> /etc/alternatives/pager",
            "etc/alternatives/pager -> /bin/more",
            "usr/share/man/man1/pager.1.gz -> /etc/alternatives/pager.1.gz",
            "etc/alternatives/pager.1.gz -> /usr/share/man/man1/more.1.gz",
        ]);
        let slave = "--slave /usr/share/man/man1/pager.1.gz pager.1.gz /usr/share/man/man1/less.1.gz";
        let less = alternative(&format!("/usr/bin/pager pager /usr/bin/less 77 {slave}"));
        let low = alternative("/usr/bin/editor editor /bin/ed 1");
        let state = [("var/lib/dpkg/alternatives/pager".to_owned(), PAGER.as_bytes().to_vec())].into();
        apply(&[less, low], &state, &mut tree, 5).unwrap();
        let link = |path: &str| match &tree.get(path).unwrap().content {
            Content::Symlink(target) => target.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(link("etc/alternatives/pager"), "/usr/bin/less");
        assert_eq!(link("usr/bin/editor"), "/etc/alternatives/editor");
        // The manual is not there: neither is the link to it.
        assert!(tree.get("usr/share/man/man1/pager.1.gz").is_none());
        assert_eq!(tree.gone, ["etc/alternatives/pager.1.gz", "usr/share/man/man1/pager.1.gz"]);
        let text = tree.added_bytes("var/lib/dpkg/alternatives/pager").unwrap().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("/usr/bin/less\n77\n/usr/share/man/man1/less.1.gz\n"), "{text}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(read(&arguments("--quiet --remove pager /bin/less")).unwrap(), None);
        for wrong in
            ["--set a /b", "--install /a b", "--install /a b /c x", "--install /a ../b /c 1", "--install a b /c 1", ""]
        {
            assert!(read(&arguments(wrong)).is_err(), "{wrong}");
        }
        assert!(read(&arguments("--install /a/../../x b /c 1")).is_err());
    }
}
