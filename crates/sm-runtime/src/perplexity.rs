//! How well a model predicts a text.

use sm_model::tokenizer::EncodeOptions;
use sm_tensor::TokenId;

use crate::{Error, Generator};

/// How a text is cut into documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerplexityOptions {
    /// Separates documents, each of which is cut at the context; what follows the last separator is dropped, as it may
    /// be cut off. Without one, the text is cut into pieces as long as the context.
    pub split: Option<String>,
    /// Stops after so many predicted tokens.
    pub max_tokens: Option<usize>,
}

impl PerplexityOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what separates documents.
    #[must_use]
    pub fn split(self, separator: impl Into<String>) -> Self {
        Self { split: Some(separator.into()), ..self }
    }

    /// Stops after so many predicted tokens.
    #[must_use]
    pub fn max_tokens(self, n: usize) -> Self {
        Self { max_tokens: Some(n), ..self }
    }
}

/// How well a model predicts a text.
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
    /// Measures a text: each document without newlines at its ends, behind the beginning-of-sequence token. `progress` is
    /// told after each document how many tokens were predicted.
    ///
    /// # Errors
    /// If nothing can be predicted, or a step fails.
    pub fn measure(
        generator: &mut Generator,
        text: &str,
        options: &PerplexityOptions,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, Error> {
        let max_tokens = options.max_tokens.unwrap_or(usize::MAX);
        let (mut sum, mut n_tokens, mut n_documents) = (0.0, 0, 0);
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
            return Err(Error::validation("text", "it holds no token to predict; give a longer text"));
        }
        let nll = sum / n_tokens as f64;
        Ok(Self { perplexity: nll.exp(), nll, tokens: n_tokens, documents: n_documents })
    }
}

impl Generator {
    /// The tokens of each document, as many as fit into the context.
    fn documents(&self, text: &str, split: Option<&str>) -> Result<Vec<Vec<TokenId>>, Error> {
        let context_len = self.model.context_len;
        let tokenizer = &self.model.text;
        let Some(split) = split else {
            // What the tokenizer puts before a text, usually the beginning-of-sequence token, goes before each piece.
            let head = tokenizer.encode("", EncodeOptions::PROMPT)?;
            let tokens = tokenizer.encode(text, EncodeOptions::PLAIN)?;
            let pieces = tokens.chunks(context_len.saturating_sub(head.len()).max(1));
            return Ok(pieces.map(|piece| [&head, piece].concat()).collect());
        };
        let mut documents: Vec<&str> =
            text.split(split).map(|document| document.trim_matches('\n')).collect();
        documents.pop();
        documents.retain(|document| !document.is_empty());
        let cut = |document: &&str| {
            let mut tokens = tokenizer.encode(document, EncodeOptions::PROMPT)?;
            tokens.truncate(context_len);
            Ok(tokens)
        };
        documents.iter().map(cut).collect()
    }
}
