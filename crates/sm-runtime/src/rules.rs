//! Compiles a request's sampling rules while the caller waits, before any work, so that an error only affects this request.

mod breakers;

use std::sync::Arc;

use crate::grammar::{Constraint, Grammars};
use crate::output::end_tokens;
use crate::sampling::{BadWords, Breakers, EarlyEnd, LogitsFilter, SamplerChain};
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
        let dry = &options.sampling.dry;
        let breakers = if dry.multiplier > 0.0 {
            breakers::of_texts(&dry.sequence_breakers, text)?
        } else {
            Breakers::default()
        };
        let mut chain = SamplerChain::with_breakers(&options.sampling, &breakers);
        if !options.sampling.bad_words.is_empty() {
            let filter = BadWords::new(&options.sampling.bad_words, text.token_texts()?);
            chain = chain.with_filter(Box::new(filter));
        }
        if options.stop.min_new_tokens > 0 {
            let tokens = end_tokens(text, &options.stop);
            let min_new_tokens = options.stop.min_new_tokens;
            chain = chain.with_filter(Box::new(EarlyEnd { tokens, min_new_tokens }));
        }
        let grammar = options.grammar.as_ref();
        let constraint = grammar.map(|grammar| grammars.compile(grammar, options.white_space, text));
        let constraint = constraint.transpose()?;
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
