//! Measures the perplexity of a model on a text.

use sm_model::tokenizer::EncodeOptions;
use sm_tensor::TokenId;

use crate::{Error, Generator};

/// How a text is split into documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerplexityOptions {
    /// Document separator. Each document is truncated to the context. Without a separator, the text is split into pieces of
    /// one context each.
    pub split: Option<String>,
    /// Stops after this many predicted tokens.
    pub max_tokens: Option<usize>,
}

impl PerplexityOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the document separator.
    #[must_use]
    pub fn split(self, separator: impl Into<String>) -> Self {
        Self { split: Some(separator.into()), ..self }
    }

    /// Stops after `n` predicted tokens.
    #[must_use]
    pub fn max_tokens(self, n: usize) -> Self {
        Self { max_tokens: Some(n), ..self }
    }
}

/// Perplexity of a model on a text.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Perplexity {
    /// `exp(nll)`.
    pub perplexity: f64,
    /// Mean negative log-likelihood per predicted token, natural logarithm.
    pub nll: f64,
    /// Predicted tokens.
    pub tokens: usize,
    /// Documents with at least one predicted token.
    pub documents: usize,
}

impl Perplexity {
    /// Measures a text: each document with surrounding newlines trimmed, after the beginning-of-sequence token. Calls
    /// `progress` after each document with the number of tokens predicted so far.
    ///
    /// # Errors
    /// If there is nothing to predict, or a step fails.
    pub fn measure(
        generator: &mut Generator,
        text: &str,
        options: &PerplexityOptions,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, Error> {
        if options.split.as_deref() == Some("") {
            return Err(Error::validation(
                "split",
                "is empty; leave it out, or name what is between documents",
            ));
        }
        let max_tokens = options.max_tokens.unwrap_or(usize::MAX);
        let mut sum = 0.0;
        let mut n_tokens = 0;
        let mut n_documents = 0;
        for mut tokens in generator.documents(text, options.split.as_deref())? {
            if n_tokens >= max_tokens {
                break;
            }
            tokens.truncate(max_tokens.saturating_sub(n_tokens).saturating_add(1));
            let logprobs = generator.score(&tokens)?;
            sum -= logprobs.iter().sum::<f64>();
            n_tokens += logprobs.len();
            n_documents += usize::from(!logprobs.is_empty());
            progress(n_tokens);
        }
        if n_tokens == 0 {
            return Err(Error::validation("text", "contains no token to predict; provide a longer text"));
        }
        let nll = sum / n_tokens as f64;
        Ok(Self { perplexity: nll.exp(), nll, tokens: n_tokens, documents: n_documents })
    }
}

impl Generator {
    /// Tokenizes each document, truncated to the context.
    fn documents(&self, text: &str, split: Option<&str>) -> Result<Vec<Vec<TokenId>>, Error> {
        let context_len = self.model.context_len;
        let tokenizer = &self.model.text;
        let Some(split) = split else {
            // Each piece gets the tokenizer's prefix, usually the beginning-of-sequence token.
            let head = tokenizer.encode("", EncodeOptions::PROMPT)?;
            let tokens = tokenizer.encode(text, EncodeOptions::PLAIN)?;
            let pieces = tokens.chunks(context_len.saturating_sub(head.len()).max(1));
            return Ok(pieces.map(|piece| [&head, piece].concat()).collect());
        };
        let documents = text.split(split).map(|document| document.trim_matches('\n'));
        let cut = |document: &str| {
            let mut tokens = tokenizer.encode(document, EncodeOptions::PROMPT)?;
            tokens.truncate(context_len);
            Ok(tokens)
        };
        documents.filter(|document| !document.is_empty()).map(cut).collect()
    }
}
