//! Compiles grammars for a model's vocabulary.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use sm_model::tokenizer::{TokenKind, Vocabulary};
use sm_tensor::TokenId;

use super::gbnf::{self, Translated};
use super::workshop::JobError;
use super::{Grammar, GrammarLimits, WhiteSpace, lark, message, schema, size, workshop};
use crate::Error;
use crate::text::Text;

/// White space between parts of JSON where it is free: none, one space, or a line break with indentation. Without a bound, a
/// small model might emit white space forever.
const WHITE_SPACE: &str = r"( |\n[ \t]{0,20})?";

/// Compiles grammars for one vocabulary, preparing it on first use. Clones share the preparation.
#[derive(Clone, Default)]
pub(crate) struct Grammars {
    prepared: Arc<OnceLock<Result<Arc<ParserFactory>, String>>>,
    limits: GrammarLimits,
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// One output's position in its grammar.
pub(crate) struct Constraint {
    matcher: Matcher,
    /// End tokens: all are allowed wherever the grammar may end.
    ends: Arc<[TokenId]>,
    /// The end token as known to the grammar.
    end: u32,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), ends: Arc::clone(&self.ends), end: self.end }
    }
}

impl Grammars {
    /// The same with other limits.
    pub(crate) fn with_limits(self, limits: GrammarLimits) -> Self {
        Self { limits, ..self }
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    /// [`Error::Grammar`] if it cannot be used, [`Error::NoTokenizer`].
    pub(crate) fn compile(
        &self,
        grammar: &Grammar,
        white_space: WhiteSpace,
        text: &Text,
    ) -> Result<Constraint, Error> {
        let tokenizer = text.tokenizer().ok_or(Error::NoTokenizer)?;
        let vocabulary = tokenizer.vocabulary();
        let max_bytes = self.limits.max_bytes;
        let n_bytes = grammar.text().len();
        if n_bytes > max_bytes {
            return Err(grammar_error(format!(
                "it has {n_bytes} bytes, and at most {max_bytes} are allowed"
            )));
        }
        // Not within the time of the first grammar.
        let factory = self.prepared.get_or_init(|| factory(vocabulary)).clone().map_err(grammar_error)?;
        let grammar = grammar.clone();
        let limit = self.limits.compile_time();
        let deadline = Instant::now() + limit / 2;
        let compiled =
            workshop::run(limit, n_bytes, move || matcher(&grammar, white_space, &factory, deadline));
        let compiled = compiled.map_err(|error| match error {
            JobError::Busy { limit } => Error::GrammarsBusy { limit_ms: limit.as_millis() as u64 },
            error => grammar_error(error),
        });
        let matcher = compiled?.map_err(grammar_error)?;
        Ok(Constraint { matcher, ends: text.eos().into(), end: end_of(vocabulary) })
    }
}

/// Compiles a grammar; looks for the part of it that is wrong until `deadline`.
///
/// # Errors
/// What is wrong, on one line.
fn matcher(
    grammar: &Grammar,
    white_space: WhiteSpace,
    factory: &ParserFactory,
    deadline: Instant,
) -> Result<Matcher, String> {
    let compile = |top| {
        let matcher = Matcher::new(factory.create_parser(top));
        matcher.get_error().map_or(Ok(matcher), |error| Err(message::of_compiler(&error)))
    };
    match grammar {
        Grammar::JsonSchema(text) => {
            // Parsed again to explain an error: beside the compiler, a copy would take many times the text.
            let schema = || {
                let mut schema = serde_json::from_str(without_mark(text))
                    .map_err(|error| format!("the schema is not JSON: {error}"))?;
                size::check_schema(&schema)?;
                schema::prepare(&mut schema)?;
                Ok::<Value, String>(schema)
            };
            let refusal = |schema| compile(json(schema, white_space)).err();
            compile(json(schema()?, white_space)).map_err(|message| match schema() {
                Ok(schema) => schema::explain(&schema, &message, &refusal, deadline),
                Err(message) => message,
            })
        }
        Grammar::JsonObject => compile(json(serde_json::json!({ "type": "object" }), white_space)),
        Grammar::Regex(expression) => compile(TopLevelGrammar::from_regex(without_anchors(expression)))
            .map_err(|message| message::of_expression(&message)),
        Grammar::Lark(text) => compile(TopLevelGrammar::from_lark(lark::prepare(without_mark(text))?)),
        Grammar::Gbnf(text) => match gbnf::translate(without_mark(text))? {
            Translated::Regex(expression) => compile(TopLevelGrammar::from_regex(&expression)),
            Translated::Lark(grammar) => compile(TopLevelGrammar::from_lark(grammar)),
        },
    }
}

/// A regular expression without `^` at its beginning and `$` at its end, which say nothing where it matches in full.
fn without_anchors(expression: &str) -> &str {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    match expression.strip_suffix('$') {
        Some(rest) if rest.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0 => rest,
        _ => expression,
    }
}

/// A text without the byte order mark that some editors begin files with.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

impl Constraint {
    /// Masks tokens that cannot follow.
    ///
    /// # Errors
    /// [`Error::Grammar`] if no token can follow, or the grammar has become too large.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let mut mask = self.matcher.compute_mask_or_eos().map_err(matching_error)?;
        if mask.is_allowed(self.end) {
            self.ends.iter().for_each(|end| mask.allow_token(end.0));
        }
        let words = mask.as_slice().iter().chain(std::iter::repeat(&0));
        for (word, logits) in words.zip(logits.chunks_mut(32)) {
            if *word == u32::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    /// Advances by a token. Returns whether the text is complete, so that nothing can follow.
    ///
    /// # Errors
    /// [`Error::Grammar`] if the token cannot follow.
    pub(crate) fn push(&mut self, token: TokenId) -> Result<bool, Error> {
        self.matcher.consume_token(token.0).map_err(matching_error)?;
        Ok(self.matcher.is_stopped())
    }
}

fn grammar_error(error: impl fmt::Display) -> Error {
    Error::Grammar { message: error.to_string() }
}

/// An error of the matcher, whose text goes over several lines.
fn matching_error(error: impl fmt::Display) -> Error {
    grammar_error(message::of_compiler(&error.to_string()))
}

/// A schema and where white space is allowed between the parts of the JSON, unless it says so itself.
fn json(mut schema: Value, white_space: WhiteSpace) -> TopLevelGrammar {
    if let Some(object) = schema.as_object_mut() {
        let options = match white_space {
            WhiteSpace::Compact => serde_json::json!({ "whitespace_flexible": false }),
            WhiteSpace::Free => serde_json::json!({ "whitespace_pattern": WHITE_SPACE }),
        };
        object.entry("x-guidance").or_insert(options);
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// The end token, or an id past the vocabulary if it has none.
fn end_of(vocabulary: &Vocabulary) -> u32 {
    vocabulary.eos().map_or(vocabulary.vocab_size() as u32, |end| end.0)
}

/// The state shared by all grammars of a vocabulary.
fn factory(vocabulary: &Vocabulary) -> Result<Arc<ParserFactory>, String> {
    let word = |id: u32| {
        let bytes = vocabulary.token_bytes(TokenId(id));
        match vocabulary.kind(TokenId(id)) {
            TokenKind::Normal | TokenKind::Added => bytes.to_vec(),
            TokenKind::Control => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
            TokenKind::Unused => Vec::new(),
        }
    };
    let n_tokens = vocabulary.vocab_size() as u32;
    let end = end_of(vocabulary);
    let mut words: Vec<Vec<u8>> = (0..n_tokens).map(word).collect();
    if end == n_tokens {
        words.push([&[TokTrie::SPECIAL_TOKEN_MARKER], &b"<end>"[..]].concat());
    }
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&environment).map_err(|error| error.to_string())?;
    factory.quiet();
    *factory.limits_mut() = parser_limits();
    Ok(Arc::new(factory))
}

/// The compiler's own limits. Those of a step bound what a grammar costs the requests beside it: some ten milliseconds.
fn parser_limits() -> ParserLimits {
    ParserLimits {
        // An object of which a thousand properties may come next has four items for each.
        max_items_in_row: 10_000,
        // Ten milliseconds. A grammar of single characters has an item for each character of each token.
        step_max_items: 200_000,
        // One to two kilobytes each.
        max_lexer_states: 100_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}
