//! Reads maintainer scripts: the part of POSIX's shell language that they are written in (XCU 2).
//!
//! Only the structure is read. What a word stands for is found out by [`super::scripts`], and whatever it cannot know is
//! unknown; a script that is not understood is refused, so what is missing here costs convenience, not safety.

mod lexer;
mod parser;

use lexer::Lexer;
use parser::Parser;

/// Deeper than any script is nested.
const MAX_DEPTH: usize = 60;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Characters that stand for themselves.
    Literal(String),
    /// A parameter by its name: `$1`, `${NAME}`.
    Parameter(String),
    /// What a program would say, or an expansion that is not read.
    Unknown,
}

/// A word, and whether any of it is in quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Its parts.
    pub pieces: Vec<Piece>,
    /// Whether any of it is in quotes: then it is no keyword and no pattern.
    pub quoted: bool,
}

/// A command or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Assignments, then words; and whether output goes into a file.
    Simple(Vec<(String, Word)>, Vec<Word>, bool),
    /// One after another.
    List(Vec<Command>),
    /// The second if the first succeeds.
    And(Box<Command>, Box<Command>),
    /// The second if the first fails.
    Or(Box<Command>, Box<Command>),
    /// `!`
    Not(Box<Command>),
    /// Conditions with what follows each, and what follows none.
    If(Vec<(Command, Command)>, Box<Command>),
    /// A word, and patterns with what follows each.
    Case(Word, Vec<(Vec<Word>, Command)>),
    /// A function is defined, which does nothing.
    Function(String),
    /// What is not looked into, by its name: a loop, a subshell, a pipe.
    Opaque(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    /// An operator; `\n` is one.
    Operator(&'static str),
    /// A redirection and where to: `None` where that is harmless (another descriptor, `/dev/null`, reading).
    Redirect(bool),
}

/// Reads a whole script.
///
/// # Errors
/// What was not understood.
pub fn parse(text: &str) -> Result<Command, String> {
    Parser::new(Lexer::new(text).tokens()?).script()
}

impl Word {
    /// The text of a word that stands for itself.
    pub fn literal(&self) -> Option<String> {
        let literal = |piece: &Piece| match piece {
            Piece::Literal(text) => Some(text.clone()),
            _ => None,
        };
        self.pieces.iter().map(literal).collect()
    }

    fn keyword(&self) -> Option<String> {
        self.literal().filter(|_| !self.quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_are_made_of_is_read() {
        for script in [
            "#!/bin/sh\nset -e\n\ncase \"$1\" in\n  configure)\n    a --b \\\n      c\n  ;;\n  x|y) ;;\n  *)\n    echo \"no \\`$1'\" >&2\n    exit 1\n  ;;\nesac\n",
            "if [ \"$1\" = configure ] && [ -x \"`which update-mime 2> /dev/null`\" ]; then\n\tupdate-mime\nfi",
            "f() {\n  local a=\"$1\"; shift\n  for x in \"$@\"; do g $x; done\n}\nf a || true\n",
            "if test \"$1\" = upgrade &&\n   dpkg --compare-versions \"$2\" lt '1:1'; then (cd /x; for a in *; do b; done) fi",
            "cat <<EOF > /dev/null\nif (\nEOF\ntrue",
            "a=$(b \"$(c ')')\" | d) e=${f%\\}*}\nwhile read l; do :; done < /etc/x",
            "if ! a; then b; elif c; then d; else e; fi; ! f",
            "case $x in (a) b ;; c) d\nesac",
        ] {
            parse(script).unwrap_or_else(|why| panic!("{why}:\n{script}"));
        }
    }

    #[test]
    fn what_does_not_end_is_an_error_and_no_panic() {
        let script = "f() { a \"b $(c) ${d}\" 'e' `g`; }\nif [ \"$1\" = x ]; then case y in z) ;; esac; fi <<E\nE\n";
        parse(script).unwrap();
        for end in 0..script.len() {
            drop(parse(&script[..end]));
        }
        for wrong in
            ["if", "if a; then", "case x in", "a )", "'", "\"", "$(", "${", "fi", "a <<E\n", "{ a", "( a", ";;"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&"(".repeat(5000)).is_err());
        assert!(parse(&"! ".repeat(500)).is_err());
    }

    #[test]
    fn words_are_taken_apart() {
        let Command::List(commands) = parse("a\"b $1\"'$2'\\$\n").unwrap() else { panic!() };
        let Command::Simple(_, words, false) = &commands[0] else { panic!() };
        let pieces = [Piece::Literal("ab ".into()), Piece::Parameter("1".into()), Piece::Literal("$2$".into())];
        assert_eq!(words[0].pieces, pieces);
    }
}
