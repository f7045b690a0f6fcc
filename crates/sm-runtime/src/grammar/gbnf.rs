//! Grammars in GBNF, the notation of llama.cpp, for the compiler of Lark.
//!
//! GBNF derives characters; Lark has a lexer, which takes the longest text that a terminal matches. Long terminals make steps cheap: a
//! text in quotes is one lexeme instead of a derivation per character. So every part of the grammar without recursion becomes a
//! terminal, and terminals after which the longest match could be wrong are split, down to single characters if need be, until no two are
//! left (`conflicts`). Then both notations derive the same texts. A grammar without recursion is one regular expression.

mod conflicts;
mod expected;
mod lark;
mod parser;
mod terminals;

use conflicts::Automata;
use terminals::Grammar;

/// Maximum number of times that terminals are split. Each round splits all terminals in conflict by one level.
const MAX_ROUNDS: usize = 1_000;

/// A grammar for the compiler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// A grammar without recursion.
    Regex(String),
    /// Any other.
    Lark(String),
}

/// Translates a grammar.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn translate(text: &str) -> Result<Translated, String> {
    let rules = parser::parse(text)?;
    let (n_rules, limit) = (rules.bodies.len(), super::size::MAX_DEPTH);
    if n_rules > limit {
        return Err(format!("it has {n_rules} rules, and at most {limit} are possible"));
    }
    if let Some(expression) = terminals::only_terminal(&rules) {
        return Ok(Translated::Regex(expression));
    }
    let mut grammar = Grammar::new(&rules);
    let mut automata = Automata::default();
    for _ in 0..MAX_ROUNDS {
        let found = conflicts::find(&grammar, &mut automata)?;
        if !grammar.split(&found) {
            return Ok(Translated::Lark(lark::of_grammar(&grammar)));
        }
    }
    Err("the grammar is too ambiguous to translate; write it in Lark".to_owned())
}

#[cfg(test)]
mod tests;
