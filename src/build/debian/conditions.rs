//! What maintainer scripts ask: of their arguments, of versions, of the files of the image.

use super::tree::{Content, Tree};
use crate::apt::relation::Operator;
use crate::apt::version::Version;

/// `dpkg --compare-versions`, of which an empty version is earlier than all; for `-nl`, later (dpkg(1)).
///
/// # Errors
/// When `dpkg` is asked something else.
pub fn compare(arguments: &[String]) -> Result<bool, String> {
    let [option, left, operator, right] = arguments else { return Err("`dpkg` is run".to_owned()) };
    if option != "--compare-versions" {
        return Err(format!("`dpkg {option}` is run"));
    }
    let (name, empty_is_later) = operator.strip_suffix("-nl").map_or((operator.as_str(), false), |name| (name, true));
    let operator = match name {
        "lt" | "<<" => Operator::Earlier,
        "le" | "<=" | "<" => Operator::EarlierOrEqual,
        "eq" | "=" => Operator::Equal,
        "ge" | ">=" | ">" => Operator::LaterOrEqual,
        "gt" | ">>" => Operator::Later,
        "ne" => return Ok(!compare(&[option.clone(), left.clone(), "eq".to_owned(), right.clone()])?),
        other => return Err(format!("`dpkg` compares by `{other}`")),
    };
    let version = |text: &str| text.parse::<Version>().map_err(|error| error.to_string());
    let is_equal = operator == Operator::Equal;
    Ok(match (left.as_str(), right.as_str()) {
        ("", "") => matches!(operator, Operator::EarlierOrEqual | Operator::Equal | Operator::LaterOrEqual),
        ("", _) => !is_equal && matches!(operator, Operator::Earlier | Operator::EarlierOrEqual) != empty_is_later,
        (_, "") => !is_equal && matches!(operator, Operator::Later | Operator::LaterOrEqual) != empty_is_later,
        (left, right) => operator.holds(&version(left)?, &version(right)?),
    })
}

/// The value of the words of `test`, by how many there are (POSIX, `test`); `None` where that is not known.
pub fn test(words: &[Option<&str>], tree: &Tree) -> Option<bool> {
    // `-a` and `-o` between whole expressions.
    for (word, is_and) in [("-o", false), ("-a", true)] {
        if words.len() > 3
            && let Some(at) = words.iter().position(|one| *one == Some(word))
        {
            let (left, right) = (test(&words[..at], tree), test(&words[at + 1..], tree));
            return match (left, right) {
                // Either decides, whatever the other is.
                (Some(known), _) | (_, Some(known)) if known != is_and => Some(known),
                (Some(_), Some(_)) => Some(is_and),
                _ => None,
            };
        }
    }
    match words {
        [] => Some(false),
        [Some(text)] => Some(!text.is_empty()),
        [Some("!"), rest @ ..] => test(rest, tree).map(|value| !value),
        [Some("-n"), Some(text)] => Some(!text.is_empty()),
        [Some("-z"), Some(text)] => Some(text.is_empty()),
        [Some(operator), Some(path)] => of_file(operator, path, tree),
        [Some(left), Some("=" | "=="), Some(right)] => Some(left == right),
        [Some(left), Some("!="), Some(right)] => Some(left != right),
        _ => None,
    }
}

/// What `test` says of a path of the image.
fn of_file(operator: &str, path: &str, tree: &Tree) -> Option<bool> {
    // What a system that runs has there, no image tells.
    let is_of_image =
        path.starts_with('/') && !["/proc", "/sys", "/run", "/dev"].iter().any(|top| path.starts_with(top));
    if !is_of_image {
        // There is no systemd while an image is made.
        return ["/run/systemd/system", "/run/systemd"].contains(&path).then_some(false);
    }
    let followed = tree.follow(path).map(|node| (&node.content, node.mode));
    Some(match operator {
        "-e" => followed.is_some(),
        "-d" => matches!(followed, Some((Content::Directory, _))),
        "-f" => matches!(followed, Some((Content::File(..) | Content::BaseFile, _))),
        "-x" => followed.is_some_and(|(_, mode)| mode & 0o111 != 0),
        "-L" | "-h" => {
            let node = tree.locate(path).ok().and_then(|path| tree.get(&path));
            matches!(node.map(|node| &node.content), Some(Content::Symlink(_)))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tree::tests::tree;
    use super::*;
    use crate::skip::skipped;

    #[test]
    fn versions_compare_as_dpkg_compares_them_also_empty_ones() {
        for left in ["", "1.0", "2.0~"] {
            for right in ["", "1.0", "2.0"] {
                for operator in ["lt", "le", "eq", "ne", "ge", "gt", "lt-nl", "le-nl", "ge-nl", "gt-nl", "<<", ">="] {
                    let arguments = ["--compare-versions", left, operator, right];
                    let Ok(status) = Command::new("dpkg").args(arguments).status() else {
                        return skipped("dpkg, the judge of this test, is not installed");
                    };
                    let found = compare(&arguments.map(str::to_owned)).unwrap();
                    assert_eq!(found, status.success(), "{arguments:?}");
                }
            }
        }
        assert!(compare(&["-i".to_owned()]).is_err());
    }

    #[test]
    fn what_is_known_of_tests_is_said_and_nothing_else() {
        let tree = tree(&["usr/", "usr/bin/", "usr/bin/less", "bin -> usr/bin", "etc/", "etc/off -> /nowhere"]);
        for (words, expected) in [
            ("configure = configure", Some(true)),
            ("a != a", Some(false)),
            ("-x /bin/less", Some(true)),
            ("! -e /bin/more", Some(true)),
            ("-L /bin -a -d /bin", Some(true)),
            ("-e /etc/off", Some(false)),
            ("-h /etc/off", Some(true)),
            ("-d /run/systemd/system", Some(false)),
            ("-e /proc/version", None),
            ("? = a", None),
            ("? = a -a b = c", Some(false)),
            ("b = b -o ? = a", Some(true)),
            ("b = c -o ? = a", None),
            ("5 -gt 4", None),
        ] {
            let words: Vec<Option<&str>> =
                words.split(' ').map(|word| Some(word).filter(|word| *word != "?")).collect();
            assert_eq!(test(&words, &tree), expected, "{words:?}");
        }
        assert_eq!((test(&[], &tree), test(&[Some("-n"), Some("")], &tree)), (Some(false), Some(false)));
    }
}
