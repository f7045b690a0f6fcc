//! Checks tokenized prompts against the limits of the request and the model.

use sm_tensor::TokenId;

use crate::text::TextStart;
use crate::{Error, FinishReason, GenerationOptions, LimitedResource, LongInput};

/// The limits of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelBounds {
    pub(crate) vocab_size: usize,
    pub(crate) context_len: usize,
    pub(crate) bos: Option<TokenId>,
}

/// A prompt that passed all checks.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) text_start: TextStart,
    /// Tokens cut off the beginning.
    pub(crate) n_truncated: usize,
    /// Context length of this request.
    pub(crate) context_len: usize,
}

/// Maximum number of new tokens, and the finish reason on reaching it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) n_tokens: usize,
    pub(crate) reason: FinishReason,
}

impl Input {
    /// Checks a tokenized prompt, truncating it if the options allow.
    ///
    /// # Errors
    /// If the prompt is empty or too long, or a token is not in the vocabulary.
    pub(crate) fn new(
        mut tokens: Vec<TokenId>,
        start: TextStart,
        options: &GenerationOptions,
        model: &ModelBounds,
    ) -> Result<Self, Error> {
        options.check_vocabulary(model.vocab_size)?;
        if tokens.is_empty() {
            tokens.push(model.bos.ok_or_else(empty_prompt)?);
        }
        let is_bos_only = tokens.len() == 1 && tokens.first().copied() == model.bos;
        let text_start = if is_bos_only { TextStart::New } else { start };
        if let Some(token) = tokens.iter().find(|token| token.0 as usize >= model.vocab_size) {
            let message = format!("token {} is not in the vocabulary of {}", token.0, model.vocab_size);
            return Err(Error::validation("prompt", message));
        }
        let n_truncated = truncate(&mut tokens, model.bos, options)?;
        let context_len = options.limits.max_context_tokens.unwrap_or(usize::MAX).min(model.context_len);
        let max_length = options.limits.max_length.unwrap_or(usize::MAX);
        for (resource, limit) in
            [(LimitedResource::Context, context_len), (LimitedResource::TotalLength, max_length)]
        {
            if tokens.len() >= limit {
                return Err(Error::limit(resource, limit, tokens.len() + 1));
            }
        }
        Ok(Self { tokens, text_start, n_truncated, context_len })
    }

    /// The same in a context that may have become shorter.
    ///
    /// # Errors
    /// If it does not fit any more.
    pub(crate) fn within(self, context_len: usize) -> Result<Self, Error> {
        let context_len = self.context_len.min(context_len);
        if self.tokens.len() >= context_len {
            return Err(Error::limit(LimitedResource::Context, context_len, self.tokens.len() + 1));
        }
        Ok(Self { context_len, ..self })
    }

    /// How many tokens may be generated.
    pub(crate) fn bound(&self, options: &GenerationOptions) -> Bound {
        let n_prompt = self.tokens.len();
        let by_total = options.limits.max_length.unwrap_or(usize::MAX) - n_prompt;
        let by_length = options.limits.max_new_tokens.min(by_total);
        let by_context = self.context_len - n_prompt;
        if by_length <= by_context {
            Bound { n_tokens: by_length, reason: FinishReason::Length }
        } else {
            Bound { n_tokens: by_context, reason: FinishReason::ContextLimit }
        }
    }
}

/// The most positions that a request with this many prompt tokens can compute. The last token is sampled but never computed.
pub(crate) fn longest(n_prompt: usize, options: &GenerationOptions, model: &ModelBounds) -> usize {
    let limits = &options.limits;
    let n_prompt = n_prompt.min(limits.max_input_tokens.unwrap_or(usize::MAX));
    let by_length = n_prompt.saturating_add(limits.max_new_tokens);
    let bounds = [limits.max_length, limits.max_context_tokens, Some(model.context_len)];
    bounds.into_iter().flatten().fold(by_length, usize::min).saturating_sub(1)
}

fn empty_prompt() -> Error {
    let message = "it is empty, and the model has no beginning-of-sequence token to start from; pass at least one token";
    Error::validation("prompt", message)
}

/// Applies [`Limits::max_input_tokens`](field@crate::Limits::max_input_tokens). Returns how many tokens were cut off.
///
/// # Errors
/// If the prompt is too long and truncation is not allowed.
fn truncate(
    tokens: &mut Vec<TokenId>,
    bos: Option<TokenId>,
    options: &GenerationOptions,
) -> Result<usize, Error> {
    let limit = options.limits.max_input_tokens.unwrap_or(usize::MAX);
    let actual = tokens.len();
    if actual <= limit {
        return Ok(0);
    }
    if options.limits.long_input == LongInput::Reject {
        return Err(Error::limit(LimitedResource::InputTokens, limit, actual));
    }
    let n_head = usize::from(bos.is_some() && tokens.first() == bos.as_ref()).min(limit);
    tokens.drain(n_head..actual - (limit - n_head));
    Ok(actual - limit)
}
