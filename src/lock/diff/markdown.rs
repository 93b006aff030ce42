//! Changes of locks as a comment on a pull request.
//!
//! GitHub refuses a comment that is too long, and that is when a reviewer needs one most. So rows are let in in the order
//! of what is most worth a look, over all images, as long as there is room, and the rest is counted.

use std::collections::BTreeSet;

use super::{Change, ImageDiff};
use crate::project::ChangeKind;

/// The most characters a comment on GitHub may have.
pub const LIMIT: usize = 65_536;

/// Kept free for the line that says what was left out.
const RESERVE: usize = 200;

const TABLE: &str = "| package | old | new | platforms |\n|---|---|---|---|\n";
const END: &str = "\n</details>\n\n";

/// Renders `images` in at most `limit` bytes (a byte is at least a character), which are at least some hundred.
pub fn markdown(images: &[ImageDiff], limit: usize) -> String {
    let changed: Vec<&ImageDiff> = images.iter().filter(|image| !image.diff.is_empty()).collect();
    let head = head(images.len(), &changed);
    let sections = cut(&changed, limit.saturating_sub(head.len() + RESERVE));
    let mut out = head;
    let mut left_out = 0;
    let mut named = BTreeSet::new();
    // By image for the reader, though cut by kind.
    for (index, image) in changed.iter().enumerate() {
        for section in sections.iter().filter(|section| section.image == index) {
            left_out += section.total - section.rows.len();
            if section.rows.is_empty() {
                continue;
            }
            if named.insert(index) {
                out.push_str(&title(image));
            }
            out.push_str(&section.opening());
            section.rows.iter().for_each(|row| out.push_str(row));
            out.push_str(END);
        }
    }
    if left_out > 0 {
        let rows = if left_out == 1 { "row is" } else { "rows are" };
        out.push_str(&format!("{left_out} {rows} left out for want of room; `esker diff` shows all.\n"));
    }
    out
}

/// The changes of one kind of one image.
struct Section {
    image: usize,
    kind: ChangeKind,
    /// All there are.
    total: usize,
    /// Those there is room for.
    rows: Vec<String>,
}

impl Section {
    fn opening(&self) -> String {
        let (open, mark) = match self.kind {
            ChangeKind::Downgrade => (" open", "⚠️ "),
            _ => ("", ""),
        };
        let what = self.kind.participle();
        format!("<details{open}><summary>{mark}{} {what}</summary>\n\n{TABLE}", self.total)
    }
}

/// The rows that fit into `room` bytes with all that stands around them: downgrades of every image first.
fn cut(changed: &[&ImageDiff], mut room: usize) -> Vec<Section> {
    let mut titled = BTreeSet::new();
    let mut sections = Vec::new();
    for kind in ChangeKind::ALL {
        for (index, image) in changed.iter().enumerate() {
            let mut section = Section { image: index, kind, total: image.diff.of_kind(kind).count(), rows: Vec::new() };
            for change in image.diff.of_kind(kind) {
                let row = row(image, change);
                let mut cost = row.len();
                if section.rows.is_empty() {
                    cost += section.opening().len() + END.len();
                    cost += if titled.contains(&index) { 0 } else { title(image).len() };
                }
                if cost > room {
                    // A shorter row that fits would hide that the order is broken.
                    room = 0;
                    break;
                }
                room -= cost;
                titled.insert(index);
                section.rows.push(row);
            }
            sections.push(section);
        }
    }
    sections
}

fn head(total: usize, changed: &[&ImageDiff]) -> String {
    let downgraded: usize = changed.iter().map(|image| image.diff.of_kind(ChangeKind::Downgrade).count()).sum();
    let warning = if downgraded > 0 { " ⚠️ Some packages are **downgraded**." } else { "" };
    match (changed, total) {
        ([], _) => "No lock changes.\n".to_owned(),
        ([image], 1) => {
            format!("**{}**: {}.{warning}\n\n", escaped(&image.image), image.diff.summary())
        }
        (changed, total) => format!("The locks of **{} of {total}** images change.{warning}\n\n", changed.len()),
    }
}

fn title(image: &ImageDiff) -> String {
    format!("### {}\n\n{}\n\n", escaped(&image.image), image.diff.summary())
}

fn row(image: &ImageDiff, change: &Change) -> String {
    let [old, new] = change.sides().map(|side| escaped(&side));
    let platforms = if change.subdirs.len() == image.diff.subdirs.len() && change.subdirs.len() > 1 {
        "all".to_owned()
    } else {
        change.subdirs.iter().map(|subdir| subdir.as_str()).collect::<Vec<_>>().join(", ")
    };
    let new = if change.kind == ChangeKind::Downgrade { format!("**{new}**") } else { new };
    format!("| {} | {old} | {new} | {platforms} |\n", escaped(&change.label()))
}

/// `text` so that it means nothing to Markdown and notifies nobody. A lock's words come from channels.
fn escaped(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._+-:/!=()".contains(c);
    if text.chars().all(is_plain) && !text.starts_with('_') && !text.contains("://") {
        return text.to_owned();
    }
    // Neither mentions nor links are looked for in code.
    let encode = |c: char| if is_plain(c) && c != '_' { c.to_string() } else { format!("&#{};", u32::from(c)) };
    format!("<code>{}</code>", text.chars().map(encode).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::LockDiff;
    use super::super::tests::lock;
    use super::*;

    fn image(name: &str, old: &[&str], new: &[&str]) -> ImageDiff {
        ImageDiff { image: name.into(), diff: LockDiff::between(&lock(old), &lock(new)) }
    }

    #[test]
    fn a_comment_as_a_reviewer_sees_it() {
        let one = image("base", &["gcsfs 2024.12.0 0", "b 1.0 h_0"], &["gcsfs 0.7.2 0", "b 1.0 h_1"]);
        let expected = "\
The locks of **1 of 2** images change. ⚠️ Some packages are **downgraded**.

### base

1 downgraded, 1 rebuilt

<details open><summary>⚠️ 1 downgraded</summary>

| package | old | new | platforms |
|---|---|---|---|
| gcsfs | 2024.12.0 | **0.7.2** | all |

</details>

<details><summary>1 rebuilt</summary>

| package | old | new | platforms |
|---|---|---|---|
| b | 1.0 h_0 | 1.0 h_1 | all |

</details>

";
        assert_eq!(markdown(&[one, image("same", &["a 1 0"], &["a 1 0"])], LIMIT), expected);
        assert_eq!(markdown(&[image("same", &[], &[])], LIMIT), "No lock changes.\n");
    }

    #[test]
    fn too_much_is_cut_and_counted_with_downgrades_kept() {
        let (mut old, mut new) = (vec!["z 2 0".to_owned()], vec!["z 1 0".to_owned()]);
        for number in 0..3000 {
            old.push(format!("package-{number:04} 1.0 0"));
            new.push(format!("package-{number:04} 1.1 0"));
        }
        let refs = |lines: &[String]| lock(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let diff = LockDiff::between(&refs(&old), &refs(&new));
        let images: Vec<_> = ["a", "b"].map(|image| ImageDiff { image: image.into(), diff: diff.clone() }).into();
        for limit in [LIMIT, 2000, 700] {
            let text = markdown(&images, limit);
            assert!(text.len() <= limit, "{} of {limit}", text.len());
            let shown = text.matches("| all |").count();
            assert!(text.contains(&format!("{} rows are left out", 6002 - shown)), "{text}");
            assert_eq!(text.matches("<details").count(), text.matches("</details>").count());
        }
        assert_eq!(markdown(&images, 2000).matches("**1**").count(), 2, "the downgrades of both images");
        assert!(markdown(&images, LIMIT).len() > LIMIT - 1000, "room is left unused");
    }

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(escaped("_libgcc_mutex"), "<code>&#95;libgcc&#95;mutex</code>");
        assert_eq!(escaped("@team|x\n<b>"), "<code>&#64;team&#124;x&#10;&#60;b&#62;</code>");
        assert_eq!(escaped("ruamel.yaml-clib"), "ruamel.yaml-clib");
    }
}
