//! YAML scalars in block context as PyYAML 6 writes them: what is quoted, how, and where long ones are folded.
//!
//! The readers of a lock file take any valid YAML. But a lock is a file in git, and a different quote is a line of diff:
//! so the rules here are PyYAML's `Emitter` and `Resolver` (YAML 1.1), down to `'1.10_2'`, `'5_1'`, `'1:30'` and `'yes'`.

/// Where PyYAML folds: at the first single space behind this column.
const WIDTH: usize = 80;

/// `text` as the value behind a key or a dash that ends before `column`; lines it is folded to are indented by `indent`.
/// With the space in front.
pub(super) fn value(text: &str, column: usize, indent: usize) -> String {
    let style = Style::of(text);
    let opening = if style == Style::Plain { 1 } else { 2 };
    format!(" {}", style.write(text, Some(Fold { column: column + opening, indent })))
}

/// `text` as a key, never folded.
pub(super) fn key(text: &str) -> String {
    let style = if text.contains('\n') { Style::Double } else { Style::of(text) };
    style.write(text, None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

#[derive(Clone, Copy)]
struct Fold {
    column: usize,
    indent: usize,
}

impl Style {
    fn of(text: &str) -> Self {
        let spaced_break = text.contains(" \n") || text.contains("\n ");
        if spaced_break || text.chars().any(|c| !matches!(c, ' '..='~' | '\n')) {
            return Self::Double;
        }
        if text.is_empty()
            || text.contains('\n')
            || is_typed(text)
            || has_block_indicator(text)
            || text.starts_with(' ')
            || text.ends_with(' ')
        {
            return Self::Single;
        }
        Self::Plain
    }

    fn write(self, text: &str, fold: Option<Fold>) -> String {
        match self {
            Self::Plain => folded(text, fold),
            Self::Single => format!("'{}'", folded(&text.replace('\'', "''"), fold)),
            Self::Double => format!("\"{}\"", escaped_text(text, fold)),
        }
    }
}

/// `text` with line breaks in place of the single spaces where PyYAML breaks, and one more in each run of its own.
fn folded(text: &str, fold: Option<Fold>) -> String {
    let Some(Fold { mut column, indent }) = fold else { return text.to_owned() };
    if !text.contains([' ', '\n']) {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    let is_space = |index: usize| characters.get(index) == Some(&' ');
    let mut out = String::with_capacity(text.len());
    for (index, character) in characters.iter().enumerate() {
        let single = *character == ' ' && !is_space(index + 1) && !(index > 0 && is_space(index - 1));
        let inside = index > 0 && index + 1 < characters.len();
        if *character == '\n' {
            let first = index == 0 || characters[index - 1] != '\n';
            out.push_str(if first { "\n\n" } else { "\n" });
            if characters.get(index + 1) != Some(&'\n') {
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            }
        } else if single && inside && column > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(*character);
            column += 1;
        }
    }
    out
}

/// `text` for double quotes, broken behind [`WIDTH`]: in front of a space, or around what is escaped.
fn escaped_text(text: &str, fold: Option<Fold>) -> String {
    let Some(Fold { mut column, indent }) = fold else { return text.chars().map(escaped).collect() };
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let break_before = |out: &mut String, next: char| {
        out.push_str("\\\n");
        out.extend(std::iter::repeat_n(' ', indent));
        // A space at the start of a line would be lost.
        out.push_str(if next == ' ' { "\\" } else { "" });
        indent + usize::from(next == ' ')
    };
    let mut behind_escaped = false;
    for (index, character) in characters.iter().enumerate() {
        let is_escaped = !matches!(character, ' '..='~') || matches!(character, '"' | '\\');
        let inside = index > 0 && index + 1 < characters.len();
        if inside && !is_escaped && (behind_escaped || *character == ' ') && column > WIDTH {
            column = break_before(&mut out, *character);
        }
        let piece = escaped(*character);
        column += piece.len();
        out.push_str(&piece);
        if inside && is_escaped && column > WIDTH + 1 {
            column = break_before(&mut out, characters[index + 1]);
        }
        behind_escaped = is_escaped;
    }
    out
}

fn escaped(character: char) -> String {
    match character {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\0' => "\\0".into(),
        '\x07' => "\\a".into(),
        '\x08' => "\\b".into(),
        '\t' => "\\t".into(),
        '\n' => "\\n".into(),
        '\x0b' => "\\v".into(),
        '\x0c' => "\\f".into(),
        '\r' => "\\r".into(),
        '\x1b' => "\\e".into(),
        '\u{85}' => "\\N".into(),
        '\u{a0}' => "\\_".into(),
        '\u{2028}' => "\\L".into(),
        '\u{2029}' => "\\P".into(),
        ' '..='~' => character.into(),
        _ => match u32::from(character) {
            code @ ..=0xff => format!("\\x{code:02X}"),
            code @ ..=0xffff => format!("\\u{code:04X}"),
            code => format!("\\U{code:08X}"),
        },
    }
}

/// Whether plain text would be read as YAML's own marks.
fn has_block_indicator(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    let blank_follows = characters.next().is_none_or(|c| c == ' ');
    text.starts_with("---")
        || text.starts_with("...")
        || first.is_some_and(|first| "#,[]{}&*!|>'\"%@`".contains(first))
        || (first.is_some_and(|first| "?:-".contains(first)) && blank_follows)
        || text.contains(": ")
        || text.ends_with(':')
        || text.contains(" #")
}

/// Whether plain text would be read as something other than text, by YAML 1.1.
fn is_typed(text: &str) -> bool {
    const WORDS: [&str; 8] = ["yes", "no", "true", "false", "on", "off", "null", "~"];
    let cased = |word: &str| {
        let capital = word[..1].to_ascii_uppercase() + &word[1..];
        text == word || text == capital || text == word.to_ascii_uppercase()
    };
    WORDS.iter().any(|word| cased(word))
        || text == "="
        || text == "<<"
        || is_int(text)
        || is_float(text)
        || is_date(text)
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn some(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && all(text, allowed)
}

fn digits(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

fn starts_with_digit(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
}

fn is_int(text: &str) -> bool {
    let number = unsigned(text);
    let decimal = |text: &str| !text.starts_with('0') && starts_with_digit(text) && all(text, digits);
    let prefixed = |prefix: &str, allowed: fn(u8) -> bool| {
        number.strip_prefix(prefix).is_some_and(|rest| some(rest, |byte| allowed(byte) || byte == b'_'))
    };
    number == "0"
        || decimal(number)
        || prefixed("0b", |byte| matches!(byte, b'0' | b'1'))
        || prefixed("0x", |byte| byte.is_ascii_hexdigit())
        || prefixed("0", |byte| matches!(byte, b'0'..=b'7'))
        || number.split_once(':').is_some_and(|(first, rest)| decimal(first) && are_sixtieths(rest))
}

/// `59` or `59:7`: what follows the first colon of YAML 1.1's base 60.
fn are_sixtieths(text: &str) -> bool {
    text.split(':').all(|part| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    })
}

fn is_float(text: &str) -> bool {
    let number = unsigned(text);
    if matches!(number, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    };
    let signed =
        |exponent: &str| exponent.starts_with(['-', '+']) && some(&exponent[1..], |byte| byte.is_ascii_digit());
    let Some((whole, fraction)) = mantissa.split_once('.') else { return false };
    let base_60 = whole.split_once(':').is_some_and(|(first, rest)| {
        starts_with_digit(first) && all(first, digits) && are_sixtieths(rest) && exponent.is_none()
    });
    let simple = starts_with_digit(whole) && all(whole, digits);
    let bare = whole.is_empty() && number.len() == text.len() && starts_with_digit(fraction);
    (base_60 || simple || bare) && all(fraction, digits) && exponent.is_none_or(signed)
}

/// `2024-01-31`, alone or with a time behind it.
fn is_date(text: &str) -> bool {
    let digit_count = |text: &str, counts: std::ops::RangeInclusive<usize>| {
        counts.contains(&text.len()) && all(text, |byte| byte.is_ascii_digit())
    };
    let (date, time) = match text.split_once(['T', 't', ' ', '\t']) {
        Some((date, time)) => (date, Some(time.trim_start_matches([' ', '\t']))),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let exact = if time.is_some() { 1..=2 } else { 2..=2 };
    let is_date = digit_count(year, 4..=4) && digit_count(month, exact.clone()) && digit_count(day, exact);
    is_date
        && time.is_none_or(|time| {
            let hours_end = time.find(':').unwrap_or(time.len());
            digit_count(&time[..hours_end], 1..=2) && time.len() >= hours_end + 6
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        value(text, 0, 2)[1..].to_owned()
    }

    /// Expected values were written by PyYAML 6.0.3's `dump`.
    #[test]
    fn scalars_are_quoted_as_pyyaml_does() {
        for text in ["1.10_2", "5_1", "1:30", "yes", "No", "ON", "1.10", "0o", "0b1", "0x1f", "017", "", "~", "null"] {
            let expected = if text == "0o" { text.to_owned() } else { format!("'{text}'") };
            assert_eq!(plain(text), expected);
        }
        for text in
            ["1.10.1", "2024a", "1e5", "1.5e10", "018", "08", "y", "n", "yEs", "1:60", "2024.01.02", "9b1", "<2"]
        {
            assert_eq!(plain(text), text);
        }
        for text in
            ["1.5e+10", ".5", "1:30.5", "-1", "+.inf", ".nan", "2024-01-02", "=", "<<", "*", ">=1", "!=1", "a: b"]
        {
            assert_eq!(plain(text), format!("'{text}'"));
        }
        for (text, expected) in [
            ("it's", "it's"),
            ("'a'", "'''a'''"),
            ("-", "'-'"),
            ("-a", "-a"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("a:", "'a:'"),
            (" a", "' a'"),
            ("../é/environment.yml", "\"../\\xE9/environment.yml\""),
            ("---", "'---'"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn lines_and_long_escaped_text_are_broken_as_pyyaml_does() {
        assert_eq!(value("what\nlines\n\nthree", 8, 6), " 'what\n\n      lines\n\n\n      three'");
        assert_eq!(value("a \nb", 8, 6), " \"a \\nb\"");
        assert_eq!(key("a\nb"), "\"a\\nb\"");
        let broken = format!(" \"{}\\\n      \\ {}\"", "\\xE9 ".repeat(15).trim(), "\\xE9 ".repeat(5).trim());
        assert_eq!(value(&"é ".repeat(20)[..59], 7, 6), broken);
        let broken = format!(" \"{}\\\n      {}\"", "\\xE9".repeat(18), "\\xE9".repeat(2));
        assert_eq!(value(&"é".repeat(20), 9, 6), broken);
    }

    #[test]
    fn long_text_is_folded_at_single_spaces() {
        let words = |count: usize| "word ".repeat(count).trim().to_owned();
        assert_eq!(value(&words(20), 6, 4), format!(" {}\n    {}", words(15), words(5)));
        assert_eq!(value(&format!(">{}", words(20)), 6, 4), format!(" '>{}\n    {}'", words(15), words(5)));
        assert_eq!(value(&"x".repeat(200), 4, 6), format!(" {}", "x".repeat(200)));
    }
}
