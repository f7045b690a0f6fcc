//! Compiles a request's sampling rules on the caller's thread, before any work, so that an error only affects this request.

use std::sync::Arc;

use sm_model::tokenizer::EncodeOptions;
use sm_tensor::TokenId;

use crate::grammar::{Constraint, Grammars};
use crate::output::end_tokens;
use crate::sampling::{BadWords, EarlyEnd, LogitsFilter, SamplerChain};
use crate::text::Text;
use crate::{Error, GenerationOptions};

/// A request's compiled sampling rules.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) chain: SamplerChain,
    /// The grammar at its initial position.
    pub(crate) constraint: Option<Constraint>,
}

impl Rules {
    /// Compiles validated options.
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
            let tokens = end_tokens(text, &options.stop);
            let min_new_tokens = options.stop.min_new_tokens;
            chain = chain.with_filter(Box::new(EarlyEnd { tokens, min_new_tokens }));
        }
        let grammar = options.grammar.as_ref();
        let constraint = grammar.map(|grammar| grammars.compile(grammar, text)).transpose()?;
        Ok(Self { chain, constraint })
    }
}

impl Rules {
    /// Appends the caller's custom filters.
    pub(crate) fn with_filters(mut self, filters: Vec<Arc<dyn LogitsFilter>>) -> Self {
        for filter in filters {
            self.chain = self.chain.with_filter(Box::new(filter));
        }
        self
    }
}

/// Tokenizes words, both at the start of a text and after other text.
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
