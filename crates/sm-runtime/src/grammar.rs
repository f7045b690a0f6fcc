//! Structured output: constrains tokens so that the text matches a schema, regular expression or grammar.
//!
//! `llguidance` compiles grammars on a thread of their own, within a time, while the caller waits (`workshop`); each choice walks its
//! own copy. Disallowed tokens are masked before anything else touches the logits, so a grammar does not affect other requests.

#[cfg(not(feature = "grammar"))]
#[path = "grammar/absent.rs"]
mod compiler;
#[cfg(feature = "grammar")]
#[path = "grammar/compiler.rs"]
mod compiler;
#[cfg(feature = "grammar")]
mod gbnf;
#[cfg(feature = "grammar")]
mod lark;
mod limits;
#[cfg(feature = "grammar")]
mod message;
#[cfg(feature = "grammar")]
mod schema;
#[cfg(feature = "grammar")]
mod size;
#[cfg(feature = "grammar")]
mod workshop;

pub(crate) use compiler::{Constraint, Grammars};
pub use limits::GrammarLimits;

/// The required form of the output, which ends where the grammar is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grammar {
    /// JSON that matches a JSON schema (2020-12 and earlier drafts; unsupported keywords are an error).
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// Text that a regular expression matches in full (syntax of the crate `regex`, without look-around).
    Regex(String),
    /// A context-free grammar in the Lark syntax of `llguidance`.
    Lark(String),
    /// A context-free grammar in GBNF, the notation of llama.cpp.
    Gbnf(String),
}

impl Grammar {
    /// A context-free grammar in GBNF if it has a rule `root ::=`, else in Lark.
    ///
    /// ```
    /// use sm_runtime::Grammar;
    ///
    /// let gbnf = Grammar::of_text("root ::= \"yes\" | \"no\"");
    /// assert!(matches!(gbnf, Grammar::Gbnf(_)));
    /// let lark = Grammar::of_text("start: \"yes\" | \"no\"");
    /// assert!(matches!(lark, Grammar::Lark(_)));
    /// ```
    pub fn of_text(text: impl Into<String>) -> Self {
        let text = text.into();
        let is_root = |line: &str| {
            let line = line.trim_start_matches('\u{feff}').trim_start();
            line.strip_prefix("root").is_some_and(|rest| rest.trim_start().starts_with("::="))
        };
        if text.lines().any(is_root) { Self::Gbnf(text) } else { Self::Lark(text) }
    }

    /// The text that it is compiled from.
    #[cfg_attr(not(feature = "grammar"), expect(dead_code, reason = "nothing is compiled"))]
    fn text(&self) -> &str {
        match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Lark(text) | Self::Gbnf(text) => text,
            Self::JsonObject => "",
        }
    }
}

/// White space between the parts of JSON that a [`Grammar`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhiteSpace {
    /// None: `{"a":1}`.
    #[default]
    Compact,
    /// As the model likes: nothing, a space, or a line break with indentation.
    Free,
}
