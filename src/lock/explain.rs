//! Makes the solver's explanation readable, and takes from it what hints are made of.
//!
//! The solver explains itself in a tree of lines: what was asked for, below it what that would need, below that what
//! stands against it. A package with hundreds of builds gives hundreds of branches that say the same; a few of them say
//! it as well.

use std::collections::{BTreeSet, HashMap};

/// Lines that a folded explanation has at most.
const MOST_LINES: usize = 30;
/// Branches of one package that stand for all of them; fewer if there are still too many lines.
const BRANCHES: [usize; 3] = [3, 2, 1];

const NONE_FOUND: &str = "No candidates were found for ";
const NONE_FOUND_BELOW: &str = ", for which no candidates were found";
const CONSTRAINED: &str = ", which conflicts with any installable versions previously reported";
const NOT_VIABLE: &str = " cannot be installed because there are no viable options";
const EXCLUDED: &str = " is excluded because ";

/// The solver's explanation of why there is no solution.
pub(super) struct Explanation {
    roots: Vec<Node>,
}

/// A line and what is indented below it.
#[derive(Clone)]
struct Node {
    text: String,
    children: Vec<Node>,
}

/// A requirement that nothing answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    /// What is required, in the solver's spelling.
    pub spec: String,
    /// What was asked for that leads to it, by name; the requirement's own name if it was asked for itself.
    pub root: String,
}

impl Explanation {
    /// Reads what the solver says.
    pub fn parse(text: &str) -> Self {
        let mut top = Node { text: String::new(), children: Vec::new() };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (depth, text) = indentation(line);
            top.at_depth(depth).children.push(Node { text: text.to_owned(), children: Vec::new() });
        }
        Self { roots: top.children }
    }

    /// The explanation with branches left out until it can be read, and how many lines those had.
    pub fn folded(&self) -> (String, usize) {
        let lines = |explanation: &Self| explanation.roots.iter().map(Node::size).sum::<usize>();
        let all = lines(self);
        if all <= MOST_LINES {
            return (self.text(), 0);
        }
        let mut folded = self.folded_to(BRANCHES[0]);
        for branches in BRANCHES {
            folded = self.folded_to(branches);
            if lines(&folded) <= MOST_LINES {
                break;
            }
        }
        let text = folded.text();
        let kept: Vec<&str> = text.lines().take(MOST_LINES).collect();
        (kept.join("\n"), all.saturating_sub(kept.len()))
    }

    fn folded_to(&self, branches: usize) -> Self {
        Self { roots: self.roots.iter().map(|root| root.folded(branches, root.is_heading())).collect() }
    }

    /// The whole text, indented anew.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for root in &self.roots {
            root.write("", "", &mut lines);
        }
        lines.join("\n")
    }

    /// The names of all packages that it speaks of.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for root in &self.roots {
            root.visit(&mut |node| names.extend(node.name()));
        }
        names
    }

    /// The requirements that nothing answers, each once.
    pub fn missing(&self) -> Vec<Missing> {
        let mut found = BTreeSet::new();
        for asked in self.asked() {
            let root = asked.name().unwrap_or_default();
            asked.visit(&mut |node| {
                let unanswered = node.unanswered().or_else(|| node.excluded());
                found.extend(unanswered.map(|spec| Missing { spec: spec.to_owned(), root: root.clone() }));
            });
        }
        found.into_iter().collect()
    }

    /// The nodes of what was asked for: the first level, but for the heading.
    fn asked(&self) -> impl Iterator<Item = &Node> {
        self.roots.iter().flat_map(|root| match root.is_heading() {
            true => root.children.iter().collect::<Vec<_>>(),
            false => vec![root],
        })
    }
}

impl Node {
    /// The last node `depth` levels down, or as far down as there are any.
    fn at_depth(&mut self, depth: usize) -> &mut Self {
        if depth == 0 || self.children.is_empty() {
            return self;
        }
        self.children.last_mut().expect("there are some").at_depth(depth - 1)
    }

    fn size(&self) -> usize {
        1 + self.children.iter().map(Self::size).sum::<usize>()
    }

    fn visit(&self, look: &mut impl FnMut(&Self)) {
        look(self);
        for child in &self.children {
            child.visit(look);
        }
    }

    /// With at most `branches` children a package; below the heading, what was asked for (`keep_all`) all stays.
    fn folded(&self, branches: usize, keep_all: bool) -> Self {
        let (mut children, mut counts): (Vec<Self>, HashMap<(String, &str), usize>) = (Vec::new(), HashMap::new());
        let mut left_out: Vec<(String, usize)> = Vec::new();
        for child in &self.children {
            let name = child.name().unwrap_or_default();
            // Versions of which the same is said, and nothing more, need be said once.
            let (said, most) = if child.children.is_empty() { (child.judgement(), 1) } else { ("", branches) };
            let count = counts.entry((name.clone(), said)).or_default();
            *count += 1;
            if keep_all || *count <= most {
                children.push(child.folded(branches, false));
            } else {
                match left_out.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, count)) => *count += 1,
                    None => left_out.push((name, 1)),
                }
            }
        }
        let note = |(name, count)| Self { text: format!("… {count} more like it of {name}"), children: Vec::new() };
        children.extend(left_out.into_iter().map(note));
        Self { text: self.text.clone(), children }
    }

    fn write(&self, own: &str, below: &str, lines: &mut Vec<String>) {
        lines.push(format!("{own}{}", self.text));
        for (index, child) in self.children.iter().enumerate() {
            let (branch, rest) =
                if index + 1 == self.children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.write(&format!("{below}{branch}"), &format!("{below}{rest}"), lines);
        }
    }

    /// What is said of the version that the line begins with.
    fn judgement(&self) -> &str {
        self.text.split_once(", ").map_or("", |(_, judgement)| judgement)
    }

    fn is_heading(&self) -> bool {
        self.text.starts_with("The following packages")
    }

    /// The package that the line is about.
    fn name(&self) -> Option<String> {
        let text = [NONE_FOUND, "the constraint "].iter().find_map(|start| self.text.strip_prefix(start));
        let word = text.unwrap_or(&self.text).split_whitespace().next()?;
        let word = word.rsplit_once("::").map_or(word, |(_, name)| name);
        let end =
            word.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(word.len());
        let name = word[..end].trim_end_matches('.').to_lowercase();
        (!name.is_empty() && !self.is_heading()).then_some(name)
    }

    /// The requirement of the line, if all that would answer it is kept from the solver.
    fn excluded(&self) -> Option<&str> {
        let all = !self.children.is_empty() && self.children.iter().all(|child| child.text.contains(EXCLUDED));
        self.text.split_once(NOT_VIABLE).map(|(spec, _)| spec.trim_end_matches(", which")).filter(|_| all)
    }

    /// The requirement that the line says nothing answers.
    fn unanswered(&self) -> Option<&str> {
        let text = self.text.trim_end_matches(['.', ',']);
        let spec = text.strip_prefix(NONE_FOUND).or_else(|| text.strip_suffix(NONE_FOUND_BELOW));
        // Of other packages some version was chosen; a virtual package has one only, and that is not it.
        spec.or_else(|| text.strip_suffix(CONSTRAINED).filter(|spec| spec.starts_with("__")))
    }
}

/// How deep a line is, and what it says.
fn indentation(line: &str) -> (usize, &str) {
    let (mut depth, mut rest) = (0, line);
    while let Some(inner) = ["├─ ", "└─ ", "│  ", "   "].iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        (depth, rest) = (depth + 1, inner);
    }
    (depth, rest.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
No candidates were found for helo >=3.
The following packages are incompatible
├─ old >=2 cannot be installed because there are no viable options:
│  └─ old 3 is excluded because due to strict channel priority not using this option from: 'x'
├─ picky * cannot be installed because there are no viable options:
│  └─ picky 1 | 2 would require
│     ├─ python <3, for which no candidates were found.
│     └─ conda-forge::LibFoo[version='>=2'], for which no candidates were found.
└─ certs * can be installed with any of the following options:
   └─ certs 2024.1 would constrain
      └─ __glibc >=2.34, which conflicts with any installable versions previously reported
";

    #[test]
    fn names_and_what_is_missing_are_found() {
        let explanation = Explanation::parse(TEXT);
        let names = ["__glibc", "certs", "helo", "libfoo", "old", "picky", "python"];
        assert_eq!(explanation.names().iter().map(String::as_str).collect::<Vec<_>>(), names);
        let missing = |spec: &str, root: &str| Missing { spec: spec.into(), root: root.into() };
        let expected = [
            missing("__glibc >=2.34", "certs"),
            missing("conda-forge::LibFoo[version='>=2']", "picky"),
            missing("helo >=3", "helo"),
            missing("old >=2", "old"),
            missing("python <3", "picky"),
        ];
        assert_eq!(explanation.missing(), expected);
    }

    #[test]
    fn what_is_short_stays() {
        assert_eq!(Explanation::parse(TEXT).folded(), (TEXT.trim_end().to_owned(), 0));
    }

    #[test]
    fn branches_that_say_the_same_are_folded() {
        let mut text = "The following packages are incompatible\n├─ a * cannot be installed\n".to_owned();
        for version in 0..400 {
            text += &format!(
                "│  ├─ a {version} would require\n│  │  └─ b {version}, for which no candidates were found.\n"
            );
            text += &format!("│  ├─ c {version}, which conflicts with the versions reported above.\n");
        }
        text += "└─ b >=1000 cannot be installed\n";
        let (folded, left_out) = Explanation::parse(&text).folded();
        let expected = "\
The following packages are incompatible
├─ a * cannot be installed
│  ├─ a 0 would require
│  │  └─ b 0, for which no candidates were found.
│  ├─ c 0, which conflicts with the versions reported above.
│  ├─ a 1 would require
│  │  └─ b 1, for which no candidates were found.
│  ├─ a 2 would require
│  │  └─ b 2, for which no candidates were found.
│  ├─ … 399 more like it of c
│  └─ … 397 more like it of a
└─ b >=1000 cannot be installed";
        assert_eq!(folded, expected);
        assert_eq!(left_out, 1203 - 12);
    }

    #[test]
    fn no_explanation_is_too_long() {
        let mut text = String::new();
        for depth in 0..100 {
            text += &format!("{}└─ a{depth} 1 would require\n", "   ".repeat(depth));
        }
        let (folded, left_out) = Explanation::parse(&text).folded();
        assert_eq!((folded.lines().count(), left_out), (MOST_LINES, 70));
    }

    proptest! {
        #[test]
        fn never_panics(text in "((├─ |└─ |│  |   )?[a-zé:.,\\[ ]{0,9}(No candidates were found for |, for which no \
                                 candidates were found)?\n?){0,20}") {
            let explanation = Explanation::parse(&text);
            explanation.folded();
            explanation.names();
            explanation.missing();
        }
    }
}
