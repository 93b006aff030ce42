//! From characters to words and operators.

use super::{MAX_DEPTH, Piece, Token, Word};

const OPERATORS: [&str; 10] = ["&&", "||", ";;", ";", "&", "|", "(", ")", "\n", "!"];

/// Takes a script apart.
pub struct Lexer {
    rest: Vec<char>,
    at: usize,
    /// Ends of documents that begin on the next line.
    heredocs: Vec<String>,
    depth: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.peek(index) == Some(c))
    }

    /// At the beginning of `text`.
    pub fn new(text: &str) -> Self {
        Self { rest: text.chars().collect(), at: 0, heredocs: vec![], depth: 0 }
    }

    /// The tokens of the whole text.
    ///
    /// # Errors
    /// What does not end.
    pub fn tokens(mut self) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' | '\r' => self.at += 1,
                '\\' if self.peek(1) == Some('\n') => self.at += 2,
                '#' => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ if self.redirection().is_some() => {
                    let redirect = self.redirect()?;
                    tokens.push(redirect);
                }
                _ => match OPERATORS.iter().find(|operator| self.operator_here(operator)) {
                    Some(operator) => {
                        self.at += operator.len();
                        tokens.push(Token::Operator(operator));
                        if *operator == "\n" {
                            self.skip_documents()?;
                        }
                    }
                    None => tokens.push(Token::Word(self.word()?)),
                },
            }
        }
        Ok(tokens)
    }

    fn operator_here(&self, operator: &str) -> bool {
        // `!` is a word of its own, or part of one.
        self.starts_with(operator) && (operator != "!" || self.peek(1).is_none_or(char::is_whitespace))
    }

    /// How many digits stand in front of the `<` or `>` that is here.
    fn redirection(&self) -> Option<usize> {
        let digits = (0..2).take_while(|&ahead| self.peek(ahead).is_some_and(|c| c.is_ascii_digit())).count();
        self.peek(digits).filter(|c| matches!(c, '<' | '>')).map(|_| digits)
    }

    fn redirect(&mut self) -> Result<Token, String> {
        self.at += self.redirection().unwrap_or_default();
        let reads = self.peek(0) == Some('<');
        let start = self.at;
        while self.peek(0).is_some_and(|c| matches!(c, '<' | '>' | '&' | '|' | '-')) {
            self.at += 1;
        }
        let sign: String = self.rest[start..self.at].iter().collect();
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.at += 1;
        }
        let target = self.word()?;
        let text = target.literal();
        if sign.starts_with("<<") {
            self.heredocs.push(text.clone().ok_or("a document ends with what is not known")?);
        }
        let harmless = reads || sign.contains('&') || text.as_deref() == Some("/dev/null");
        Ok(Token::Redirect(!harmless))
    }

    fn skip_documents(&mut self) -> Result<(), String> {
        for end in std::mem::take(&mut self.heredocs) {
            loop {
                if self.at >= self.rest.len() {
                    return Err(format!("the document does not end with `{end}`"));
                }
                let line: String = self.rest[self.at..].iter().take_while(|&&c| c != '\n').collect();
                self.at += line.chars().count() + 1;
                if line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
        self.at = self.at.min(self.rest.len());
        Ok(())
    }

    fn word(&mut self) -> Result<Word, String> {
        let mut word = Word::default();
        let mut literal = String::new();
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\\' => {
                    match self.peek(1) {
                        Some('\n') | None => {}
                        Some(other) => literal.push(other),
                    }
                    self.at += 2;
                    word.quoted = true;
                }
                '\'' => {
                    let text = self.until('\'')?;
                    literal.push_str(&text);
                    word.quoted = true;
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(&mut word, &mut literal)?;
                    word.quoted = true;
                }
                '$' | '`' => self.expansion(&mut word, &mut literal)?,
                other => {
                    literal.push(other);
                    self.at += 1;
                }
            }
        }
        self.at = self.at.min(self.rest.len());
        flush(&mut word, &mut literal);
        Ok(word)
    }

    /// What lies between the quote that is here and the next.
    fn until(&mut self, quote: char) -> Result<String, String> {
        let start = self.at + 1;
        let end = self.rest[start..].iter().position(|&c| c == quote).ok_or("a quote does not end")?;
        self.at = start + end + 1;
        Ok(self.rest[start..start + end].iter().collect())
    }

    fn double_quoted(&mut self, word: &mut Word, literal: &mut String) -> Result<(), String> {
        loop {
            match self.peek(0).ok_or("a quote does not end")? {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '\\' => {
                    match self.peek(1).ok_or("a quote does not end")? {
                        '\n' => {}
                        other if matches!(other, '$' | '`' | '"' | '\\') => literal.push(other),
                        other => literal.extend(['\\', other]),
                    }
                    self.at += 2;
                }
                '$' | '`' => self.expansion(word, literal)?,
                other => {
                    literal.push(other);
                    self.at += 1;
                }
            }
        }
    }

    /// `$1`, `$NAME`, `${NAME}`; and what is not read: `${NAME…}`, `$(…)`, `` `…` ``.
    fn expansion(&mut self, word: &mut Word, literal: &mut String) -> Result<(), String> {
        if self.peek(0) == Some('`') {
            self.until('`')?;
            flush(word, literal);
            word.pieces.push(Piece::Unknown);
            return Ok(());
        }
        let piece = match self.peek(1) {
            Some('(') => {
                self.at += 1;
                self.skip_nested('(', ')')?;
                Piece::Unknown
            }
            Some('{') => {
                self.at += 1;
                let start = self.at + 1;
                self.skip_nested('{', '}')?;
                let name: String = self.rest[start..self.at - 1].iter().collect();
                if is_parameter(&name) { Piece::Parameter(name) } else { Piece::Unknown }
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name: String =
                    self.rest[self.at + 1..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
                self.at += 1 + name.len();
                Piece::Parameter(name)
            }
            Some(c) if c.is_ascii_digit() => {
                self.at += 2;
                Piece::Parameter(c.to_string())
            }
            Some('@' | '*' | '#' | '?' | '$' | '!' | '-') => {
                self.at += 2;
                Piece::Unknown
            }
            _ => {
                literal.push('$');
                self.at += 1;
                return Ok(());
            }
        };
        flush(word, literal);
        word.pieces.push(piece);
        Ok(())
    }

    /// Goes behind the bracket that closes the one that is here.
    fn skip_nested(&mut self, open: char, close: char) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let mut depth = 0;
        loop {
            match self.peek(0).ok_or("a bracket does not end")? {
                '\\' => self.at += 1,
                '\'' if open == '(' => {
                    self.until('\'')?;
                    continue;
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(&mut Word::default(), &mut String::new())?;
                    continue;
                }
                c if c == open => depth += 1,
                c if c == close => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                self.depth -= 1;
                return Ok(());
            }
        }
    }
}

fn flush(word: &mut Word, literal: &mut String) {
    if !literal.is_empty() {
        word.pieces.push(Piece::Literal(std::mem::take(literal)));
    }
}

/// Whether `name` is that of a parameter, or of a variable.
pub fn is_parameter(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
