//! What a request asks of its tokens, compiled before any work: on the caller's thread, and an error is of this request alone.

use std::sync::Arc;

use sm_model::tokenizer::EncodeOptions;
use sm_tensor::TokenId;

use crate::grammar::{Constraint, Grammars};
use crate::output::end_tokens;
use crate::sampling::{BadWords, EarlyEnd, LogitsFilter, SamplerChain};
use crate::text::Text;
use crate::{Error, GenerationOptions};

/// How tokens are chosen.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) chain: SamplerChain,
    /// Where an output stands in its grammar: at the beginning.
    pub(crate) constraint: Option<Constraint>,
}

impl Rules {
    /// Compiles options that were validated.
    pub(crate) fn new(options: &GenerationOptions, text: &Text, grammars: &Grammars) -> Result<Self, Error> {
        for stop in &options.stop.sequences {
            if let Some(special) = text.special_within(stop) {
                let message = format!(
                    "{stop:?} would not be found: it contains the special token {special}, whose text is not part of \
                     the output; stop at {special:?} alone, or without it"
                );
                return Err(Error::validation("stop", message));
            }
        }
        let mut chain = SamplerChain::new(&options.sampling);
        if !options.sampling.bad_words.is_empty() {
            chain = chain.with_filter(Box::new(bad_words(&options.sampling.bad_words, text)?));
        }
        if options.stop.min_new_tokens > 0 {
            let (tokens, min_new_tokens) = (end_tokens(text, &options.stop), options.stop.min_new_tokens);
            chain = chain.with_filter(Box::new(EarlyEnd { tokens, min_new_tokens }));
        }
        let grammar = options.grammar.as_ref();
        let constraint = grammar.map(|grammar| grammars.compile(grammar, text)).transpose()?;
        Ok(Self { chain, constraint })
    }
}

impl Rules {
    /// Adds a caller's own filters behind all others.
    pub(crate) fn with_filters(mut self, filters: Vec<Arc<dyn LogitsFilter>>) -> Self {
        for filter in filters {
            self.chain = self.chain.with_filter(Box::new(filter));
        }
        self
    }
}

/// The tokens of words as they begin a text and as they follow others.
fn bad_words(words: &[String], text: &Text) -> Result<BadWords, Error> {
    let mut sequences: Vec<Vec<TokenId>> = Vec::new();
    for word in words {
        for spelling in [word.clone(), format!(" {word}")] {
            let tokens = text.encode(&spelling, EncodeOptions::PLAIN)?;
            if !sequences.contains(&tokens) {
                sequences.push(tokens);
            }
        }
    }
    Ok(BadWords(sequences))
}
