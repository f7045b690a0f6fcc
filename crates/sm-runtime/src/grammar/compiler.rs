//! Compiles grammars for a model's vocabulary.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use sm_model::tokenizer::{TokenKind, Vocabulary};
use sm_tensor::TokenId;

use super::{Grammar, schema};
use crate::Error;
use crate::text::Text;

/// White space between parts of JSON: none, one space, or a line break with indentation.
const WHITE_SPACE: &str = r"( |\n[ \t]{0,20})?";

/// Compiles grammars for one vocabulary, preparing it on first use. Clones share the preparation.
#[derive(Clone, Default)]
pub(crate) struct Grammars(Arc<OnceLock<Result<Arc<ParserFactory>, String>>>);

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grammars").field(&self.0.get().is_some()).finish()
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
    /// Compiles a grammar.
    ///
    /// # Errors
    /// [`Error::Grammar`] if it cannot be used, [`Error::NoTokenizer`].
    pub(crate) fn compile(&self, grammar: &Grammar, text: &Text) -> Result<Constraint, Error> {
        let tokenizer = text.tokenizer().ok_or(Error::NoTokenizer)?;
        let vocabulary = tokenizer.vocabulary();
        let factory = self.0.get_or_init(|| factory(vocabulary)).as_ref().map_err(grammar_error)?;
        let top = top_level(grammar)?;
        // A grammar that the compiler panics on is an error of its request alone.
        let compiled = catch_unwind(AssertUnwindSafe(|| Matcher::new(factory.create_parser(top))));
        let matcher = compiled.map_err(|_| grammar_error("the compiler cannot handle it"))?;
        match matcher.get_error() {
            Some(message) => Err(Error::Grammar { message }),
            None => Ok(Constraint { matcher, ends: text.eos().into(), end: end_of(vocabulary) }),
        }
    }
}

impl Constraint {
    /// Masks tokens that cannot follow.
    ///
    /// # Errors
    /// [`Error::Grammar`] if no token can follow, or the grammar has become too large.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let mut mask = self.matcher.compute_mask_or_eos().map_err(grammar_error)?;
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
        self.matcher.consume_token(token.0).map_err(grammar_error)?;
        Ok(self.matcher.is_stopped())
    }
}

fn grammar_error(error: impl fmt::Display) -> Error {
    Error::Grammar { message: error.to_string() }
}

fn top_level(grammar: &Grammar) -> Result<TopLevelGrammar, Error> {
    Ok(match grammar {
        Grammar::JsonSchema(schema) => {
            let mut schema = serde_json::from_str(schema)
                .map_err(|error| Error::Grammar { message: format!("the schema is not JSON: {error}") })?;
            schema::prepare(&mut schema).map_err(|message| Error::Grammar { message })?;
            json(schema)
        }
        Grammar::JsonObject => json(serde_json::json!({ "type": "object" })),
        Grammar::Regex(expression) => TopLevelGrammar::from_regex(expression),
        Grammar::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
    })
}

/// A schema with bounded white space between parts; a small model might otherwise emit white space forever.
fn json(mut schema: Value) -> TopLevelGrammar {
    if let Some(object) = schema.as_object_mut() {
        let options = serde_json::json!({ "whitespace_pattern": WHITE_SPACE });
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
    factory.limits_mut().verbose_errors = false;
    Ok(Arc::new(factory))
}
