//! Debian's control files: paragraphs of fields (Debian policy 5.1, deb822(5)).

/// One paragraph: fields and their values, continuation lines included, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Paragraph<'a> {
    /// Reads the lines of one paragraph. Lines that are neither a field nor its continuation are passed over.
    pub fn parse(text: &'a str) -> Self {
        let mut fields: Vec<(&str, usize, usize)> = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            if line.starts_with([' ', '\t']) {
                if let Some((_, _, value_end)) = fields.last_mut() {
                    *value_end = end;
                }
            } else if let Some((name, _)) = line.split_once(':').filter(|_| !line.starts_with('#')) {
                fields.push((name, start + name.len() + 1, end));
            }
            start = end;
        }
        Self { fields: fields.into_iter().map(|(name, from, to)| (name, text[from..to].trim())).collect() }
    }

    /// The value of the field `name`, whatever the case of its letters.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.fields.iter().copied()
    }
}

/// The paragraphs of a file: what lies between its empty lines.
pub fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(['\n', '\r']);
            if rest.is_empty() {
                return None;
            }
            let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
            let (paragraph, after) = rest.split_at(end);
            rest = after;
            if !paragraph.trim().is_empty() {
                return Some(paragraph);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_continuation_lines() {
        let text =
            "\n\nPackage: a\nDescription: short\n long\n .\n\tmore\nversion:1\n\n\n# comment\nPackage:\n b\nodd\n";
        let all: Vec<_> = paragraphs(text).map(Paragraph::parse).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Description"), Some("short\n long\n .\n\tmore"));
        assert_eq!(all[0].get("Version"), Some("1"));
        assert_eq!(all[0].fields().count(), 3);
        assert_eq!((all[1].get("Package"), all[1].get("Version")), (Some("b"), None));
        assert_eq!(paragraphs("").count(), 0);
    }
}
