//! From words and operators to commands.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::lexer::is_parameter;
use super::{Command, MAX_DEPTH, Piece, Token, Word};

/// Reads tokens as commands.
pub struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    /// At the first of `tokens`.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens: tokens.into_iter().peekable(), depth: 0 }
    }

    /// All that there is.
    ///
    /// # Errors
    /// What is not expected.
    pub fn script(mut self) -> Result<Command, String> {
        let script = self.list(&[])?;
        match self.tokens.next() {
            None => Ok(script),
            Some(token) => Err(format!("`{}` is not expected", shown(&token))),
        }
    }

    fn keyword(&mut self) -> Option<String> {
        match self.tokens.peek() {
            Some(Token::Word(word)) => word.keyword(),
            _ => None,
        }
    }

    fn is_operator(&mut self, wanted: &str) -> bool {
        matches!(self.tokens.peek(), Some(Token::Operator(operator)) if *operator == wanted)
    }

    fn skip_lines(&mut self) {
        while self.is_operator("\n") {
            self.tokens.next();
        }
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let found = self.keyword().is_some_and(|word| word == wanted) || self.is_operator(wanted);
        match self.tokens.next() {
            Some(_) if found => Ok(()),
            Some(token) => Err(format!("`{}` stands where `{wanted}` should", shown(&token))),
            None => Err(format!("`{wanted}` is missing")),
        }
    }

    /// Commands up to one of the words `ends`, to `;;` or to `)`.
    fn list(&mut self, ends: &[&str]) -> Result<Command, String> {
        let mut commands = Vec::new();
        loop {
            while ["\n", ";", "&"].iter().any(|separator| self.is_operator(separator)) {
                self.tokens.next();
            }
            let ended = self.keyword().is_some_and(|word| ends.contains(&word.as_str()));
            if ended || self.tokens.peek().is_none() || self.is_operator(";;") || self.is_operator(")") {
                return Ok(Command::List(commands));
            }
            commands.push(self.and_or()?);
        }
    }

    fn and_or(&mut self) -> Result<Command, String> {
        let mut left = self.pipeline()?;
        loop {
            let is_and = self.is_operator("&&");
            if !is_and && !self.is_operator("||") {
                return Ok(left);
            }
            self.tokens.next();
            self.skip_lines();
            let right = Box::new(self.pipeline()?);
            left = if is_and { Command::And(Box::new(left), right) } else { Command::Or(Box::new(left), right) };
        }
    }

    fn pipeline(&mut self) -> Result<Command, String> {
        let mut negated = false;
        while self.is_operator("!") {
            self.tokens.next();
            negated = !negated;
        }
        let first = self.command()?;
        if !self.is_operator("|") {
            return Ok(if negated { Command::Not(Box::new(first)) } else { first });
        }
        while self.is_operator("|") {
            self.tokens.next();
            self.skip_lines();
            self.command()?;
        }
        Ok(Command::Opaque("a pipe"))
    }

    fn command(&mut self) -> Result<Command, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let command = self.any_command();
        self.depth -= 1;
        command
    }

    fn any_command(&mut self) -> Result<Command, String> {
        let compound = match self.keyword().as_deref() {
            Some("if") => self.conditional()?,
            Some("case") => self.case()?,
            Some("for" | "while" | "until") => self.repeated()?,
            Some("{") => {
                self.tokens.next();
                let list = self.list(&["}"])?;
                self.expect("}")?;
                list
            }
            Some(word @ ("then" | "elif" | "else" | "fi" | "do" | "done" | "esac" | "}")) => {
                return Err(format!("`{word}` is not expected"));
            }
            None if self.is_operator("(") => {
                self.tokens.next();
                self.list(&[])?;
                self.expect(")")?;
                Command::Opaque("a subshell")
            }
            _ => return self.simple(),
        };
        let mut writes = false;
        while let Some(Token::Redirect(redirect)) = self.tokens.peek() {
            writes |= redirect;
            self.tokens.next();
        }
        Ok(if writes { Command::Opaque("a redirection") } else { compound })
    }

    fn conditional(&mut self) -> Result<Command, String> {
        let mut branches = Vec::new();
        loop {
            // `if` or `elif`
            self.tokens.next();
            let condition = self.list(&["then"])?;
            self.expect("then")?;
            branches.push((condition, self.list(&["elif", "else", "fi"])?));
            if self.keyword().as_deref() != Some("elif") {
                break;
            }
        }
        let otherwise = if self.keyword().as_deref() == Some("else") {
            self.tokens.next();
            self.list(&["fi"])?
        } else {
            Command::List(vec![])
        };
        self.expect("fi")?;
        Ok(Command::If(branches, Box::new(otherwise)))
    }

    fn case(&mut self) -> Result<Command, String> {
        self.tokens.next();
        let Some(Token::Word(word)) = self.tokens.next() else { return Err("`case` has no word".to_owned()) };
        self.skip_lines();
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip_lines();
            if self.keyword().as_deref() == Some("esac") {
                self.tokens.next();
                return Ok(Command::Case(word, arms));
            }
            if self.is_operator("(") {
                self.tokens.next();
            }
            let mut patterns = Vec::new();
            loop {
                match self.tokens.next() {
                    Some(Token::Word(pattern)) => patterns.push(pattern),
                    _ => return Err("a pattern of `case` is not understood".to_owned()),
                }
                if !self.is_operator("|") {
                    break;
                }
                self.tokens.next();
            }
            self.expect(")")?;
            arms.push((patterns, self.list(&["esac"])?));
            if self.is_operator(";;") {
                self.tokens.next();
            }
        }
    }

    fn repeated(&mut self) -> Result<Command, String> {
        // Its word; what follows reads as a command.
        self.tokens.next();
        self.list(&["do"])?;
        self.expect("do")?;
        self.list(&["done"])?;
        self.expect("done")?;
        Ok(Command::Opaque("a loop"))
    }

    fn simple(&mut self) -> Result<Command, String> {
        let (mut assignments, mut words, mut writes) = (Vec::new(), Vec::new(), false);
        loop {
            match self.tokens.peek() {
                Some(Token::Word(_)) => {
                    let Some(Token::Word(word)) = self.tokens.next() else { continue };
                    match assignment(&word).filter(|_| words.is_empty()) {
                        Some(assignment) => assignments.push(assignment),
                        None => words.push(word),
                    }
                }
                Some(Token::Redirect(redirect)) => {
                    writes |= redirect;
                    self.tokens.next();
                }
                Some(Token::Operator("!")) => {
                    words.push(Word { pieces: vec![Piece::Literal("!".to_owned())], quoted: false });
                    self.tokens.next();
                }
                Some(Token::Operator("(")) if words.len() == 1 && assignments.is_empty() => {
                    return self.function(&words[0]);
                }
                _ => break,
            }
        }
        match (assignments.is_empty() && words.is_empty(), self.tokens.peek()) {
            (true, Some(token)) if !writes => Err(format!("`{}` is not expected", shown(token))),
            (true, None) if !writes => Err("a command is missing".to_owned()),
            _ => Ok(Command::Simple(assignments, words, writes)),
        }
    }

    fn function(&mut self, name: &Word) -> Result<Command, String> {
        let name = name.keyword().ok_or("a function has no name")?;
        self.expect("(")?;
        self.expect(")")?;
        self.skip_lines();
        self.command()?;
        Ok(Command::Function(name))
    }
}

/// `NAME=…` as a name and a word.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Piece::Literal(first)) = word.pieces.first() else { return None };
    let (name, value) = first.split_once('=')?;
    let is_name = is_parameter(name) && !name.starts_with(|c: char| c.is_ascii_digit());
    let mut pieces = word.pieces.clone();
    pieces[0] = Piece::Literal(value.to_owned());
    // Whether it was quoted does not matter: a value is not split.
    is_name.then(|| (name.to_owned(), Word { pieces, quoted: true }))
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => word.literal().unwrap_or_else(|| "$…".to_owned()),
        Token::Operator("\n") => "the end of the line".to_owned(),
        Token::Operator(operator) => (*operator).to_owned(),
        Token::Redirect(_) => ">".to_owned(),
    }
}
