//! Secrets that found their way into an image: everybody who can pull it has them.
//!
//! Looked at are the files where programs keep credentials, whoever's they are; what is in /etc and in the homes of
//! root and of the image's user; the addresses that conda's records name; and the image's own configuration. What is
//! found is never printed.

use super::files::some;
use crate::verify::report::Outcome;
use crate::verify::subject::Subject;

/// The most bytes of a file that is looked into; programs' credentials are small.
const MAX: u64 = 256 << 10;
/// Directories whose small files are all looked into.
const PLACES: [&str; 4] = ["etc/", "home/", "root/", "run/"];
/// Names of files that are looked into wherever they are, and of their folder where the name says too little.
const NAMES: [(&str, &str); 12] = [
    ("", ".netrc"),
    ("", "_netrc"),
    ("", ".condarc"),
    ("", "condarc"),
    ("", "pip.conf"),
    ("", ".pypirc"),
    ("", ".gitconfig"),
    ("", ".git-credentials"),
    ("", "auth.conf"),
    ("conda-meta", "history"),
    (".docker", "config.json"),
    (".aws", "credentials"),
];
/// What a secret's variable is called, at the end of its name.
const VARIABLES: [&str; 6] = ["TOKEN", "PASSWORD", "PASSWD", "SECRET", "SECRET_ACCESS_KEY", "API_KEY"];
/// How tokens begin that say themselves what they are, and how many characters follow at least.
const TOKENS: [(&str, usize); 7] =
    [("AKIA", 16), ("ghp_", 30), ("ghs_", 30), ("github_pat_", 30), ("glpat-", 18), ("pypi-AgE", 30), ("xoxb-", 20)];

/// Whether the content of the file at `path`, of so many bytes, is looked into.
pub fn may_hold_secrets(path: &str, size: u64) -> bool {
    let mut parts = path.rsplit('/');
    let (name, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let named = NAMES.iter().any(|(place, known)| name == *known && (place.is_empty() || folder == *place));
    size <= MAX && (named || PLACES.iter().any(|place| path.starts_with(place)))
}

pub fn secrets(subject: &Subject<'_>) -> Outcome {
    let files = subject.tree.contents.iter().filter(|(path, _)| may_hold_secrets(path, 0));
    let in_files = files.filter_map(|(path, content)| {
        let kind = secret_of_file(path, &String::from_utf8_lossy(content))?;
        Some(format!("/{path}: {kind}"))
    });
    let prefixes = [&subject.installed, &subject.installed_root];
    let records = prefixes.iter().flat_map(|prefix| prefix.packages.values());
    let in_records = records.filter_map(|record| {
        let kind = [&record.url, &record.channel].into_iter().flatten().find_map(|url| secret_of_text(url))?;
        Some(format!("conda's record of {}: {kind}", record.name))
    });
    let in_variables = subject.container.env.iter().filter_map(|(name, value)| {
        let is_named = VARIABLES.iter().any(|end| name.to_ascii_uppercase().ends_with(end)) && is_value(value);
        let kind = if is_named { Some("a value") } else { secret_of_text(value) }?;
        Some(format!("variable {name}: {kind}"))
    });
    let history = subject.image.config.history().iter().flatten();
    let in_history = history.filter_map(|step| {
        let kind = secret_of_text(step.created_by().as_deref()?)?;
        Some(format!("the image's history: {kind}"))
    });
    let faults = in_files.chain(in_records).chain(in_variables).chain(in_history);
    Outcome::of_faults("secrets are in the image", some(faults, |fault| fault))
}

fn secret_of_file(path: &str, text: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let follows = |key: &str| words(text).windows(2).any(|pair| pair[0] == key && is_value(&pair[1]));
    let sets = |key: &str| text.lines().filter_map(setting).any(|(name, value)| name == key && is_value(value));
    match name {
        ".netrc" | "_netrc" | "auth.conf" if follows("password") => Some("a password"),
        ".pypirc" if sets("password") => Some("a password"),
        ".git-credentials" if !text.trim().is_empty() => Some("a password"),
        "credentials" if sets("aws_secret_access_key") => Some("an access key"),
        "config.json" if ["\"auth\"", "\"identitytoken\""].iter().any(|key| text.contains(key)) => Some("a password"),
        _ => secret_of_text(text),
    }
}

/// `name = value` of a line.
fn setting(line: &str) -> Option<(&str, &str)> {
    line.split_once('=').map(|(name, value)| (name.trim(), value.trim()))
}

/// What kind of secret `text` shows, if it shows one.
fn secret_of_text(text: &str) -> Option<&'static str> {
    if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY-----")) {
        return Some("a private key");
    }
    let urls = || text.split("://").skip(1).map(rest_of_url);
    if urls().any(has_password) {
        return Some("a URL with a password");
    }
    // conda's way to say who asks: https://HOST/t/TOKEN/CHANNEL.
    if urls().any(|url| url.split("/t/").skip(1).any(|rest| token_length(rest) >= 8)) {
        return Some("a URL with a token");
    }
    let has_token =
        |(begin, length): &(&str, usize)| text.split(begin).skip(1).any(|rest| token_length(rest) >= *length);
    TOKENS.iter().any(has_token).then_some("a token")
}

/// How many of the first characters can be a token's.
fn token_length(text: &str) -> usize {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).count()
}

/// What of the text behind `://` belongs to the URL.
fn rest_of_url(text: &str) -> &str {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '>' | ')'));
    &text[..end.unwrap_or(text.len())]
}

/// Whether what follows `://` begins with a user and a password.
fn has_password(url: &str) -> bool {
    let authority = url.split('/').next().unwrap_or_default();
    let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    password.is_some_and(is_value)
}

/// Whether `text` stands for itself, and not for a variable or for something to fill in.
fn is_value(text: &str) -> bool {
    const EXAMPLES: [&str; 6] = ["password", "passwd", "pass", "pwd", "secret", "xxx"];
    let text = text.trim_matches(|c| matches!(c, '"' | '\''));
    let is_example = EXAMPLES.contains(&text.to_ascii_lowercase().as_str());
    !text.is_empty() && !text.starts_with(['$', '%', '<', '{', '*']) && !is_example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_looks_like_them() {
        for (text, kind) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", Some("a private key")),
            ("-----BEGIN CERTIFICATE-----", None),
            ("channels: [https://ada:s3cret@conda.example.org/team]", Some("a URL with a password")),
            ("https://conda.example.org/t/ab-12345678/team", Some("a URL with a token")),
            ("# proxy: http://user:${PASSWORD}@proxy/ or http://user:password@proxy/", None),
            ("see https://example.org/a:b@c and /t/longer-than-eight", None),
            (&format!("token {}{}", "ghp_", "a1".repeat(18)), Some("a token")),
            ("ghp_ is how they begin", None),
        ] {
            assert_eq!(secret_of_text(text), kind, "{text}");
        }
    }

    #[test]
    fn files_of_credentials() {
        for (path, text, is_secret) in [
            ("home/jovyan/.netrc", "machine h login ada password s3cret", true),
            ("root/.netrc", "machine h login ada", false),
            ("etc/apt/auth.conf", "machine h\nlogin ada\npassword s3cret\n", true),
            ("root/.aws/credentials", "[default]\naws_secret_access_key = abc\n", true),
            ("root/.docker/config.json", r#"{"auths": {"h": {"auth": "YTpi"}}}"#, true),
            ("root/.docker/config.json", r#"{"auths": {}}"#, false),
            ("etc/pip.conf", "[global]\nindex-url = https://ada:s3cret@pypi.example.org/simple\n", true),
        ] {
            assert!(may_hold_secrets(path, 100), "{path}");
            assert_eq!(secret_of_file(path, text).is_some(), is_secret, "{path}: {text}");
        }
        assert!(may_hold_secrets("srv/conda/.condarc", 1) && may_hold_secrets("srv/x/conda-meta/history", 1));
        assert!(!may_hold_secrets("srv/x/share/credentials", 1) && !may_hold_secrets("etc/large", MAX + 1));
    }
}
