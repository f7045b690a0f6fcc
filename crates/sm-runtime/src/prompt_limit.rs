//! How many tokens a prompt may have.

use sm_model::tokenizer::TokenizerError;

use crate::{Error, GenerationOptions, LimitedResource, LongInput};

/// How many tokens a prompt may have, and what says so. It is checked while the prompt is tokenized, so that a text that cannot fit
/// costs no more than one that does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptLimit {
    pub(crate) n_tokens: usize,
    resource: LimitedResource,
    /// The resource's own limit.
    limit: usize,
    /// Tokens that the request needs beside those of the prompt.
    n_others: usize,
}

impl PromptLimit {
    /// The lowest limit of a request to a model with this context length.
    pub(crate) fn new(options: &GenerationOptions, context_len: usize) -> Self {
        let limits = &options.limits;
        let whole = |resource, limit| Self { n_tokens: limit, resource, limit, n_others: 0 };
        // The end of a prompt is only known once all of it is tokenized.
        if limits.max_input_tokens.is_some() && limits.long_input == LongInput::KeepTail {
            return whole(LimitedResource::InputTokens, usize::MAX);
        }
        let context_len = limits.max_context_tokens.unwrap_or(usize::MAX).min(context_len);
        let with_output =
            |resource, limit: usize| Self { n_tokens: limit.saturating_sub(1), resource, limit, n_others: 1 };
        [
            whole(LimitedResource::InputTokens, limits.max_input_tokens.unwrap_or(usize::MAX)),
            with_output(LimitedResource::Context, context_len),
            with_output(LimitedResource::TotalLength, limits.max_length.unwrap_or(usize::MAX)),
        ]
        .into_iter()
        .reduce(|lowest, other| if other.n_tokens < lowest.n_tokens { other } else { lowest })
        .unwrap_or(whole(LimitedResource::InputTokens, usize::MAX))
    }

    /// The limit of what follows `n_before` tokens.
    pub(crate) fn after(self, n_before: usize) -> Self {
        Self { n_tokens: self.n_tokens.saturating_sub(n_before), n_others: self.n_others + n_before, ..self }
    }

    /// The error of a tokenizer as that of the request.
    pub(crate) fn error(self, error: Error) -> Error {
        match error {
            Error::Tokenizer(TokenizerError::TooManyTokens { at_least, .. }) => {
                Error::limit(self.resource, self.limit, at_least.saturating_add(self.n_others))
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(change: impl FnOnce(&mut crate::Limits)) -> PromptLimit {
        let mut options = GenerationOptions::default();
        change(&mut options.limits);
        PromptLimit::new(&options, 100)
    }

    #[test]
    fn the_lowest_limit_holds_and_names_itself() {
        let cases: [(PromptLimit, usize, &str); 5] = [
            (limit(|_| ()), 99, "context is 100 but the request needs at least 101; "),
            (
                limit(|limits| limits.max_input_tokens = Some(7)),
                7,
                "max_input_tokens is 7 but the request needs at least 100; ",
            ),
            (
                limit(|limits| limits.max_length = Some(8)),
                7,
                "max_length is 8 but the request needs at least 101; ",
            ),
            (
                limit(|limits| limits.max_context_tokens = Some(50)),
                49,
                "context is 50 but the request needs at least 101; ",
            ),
            (limit(|_| ()).after(40), 59, "context is 100 but the request needs at least 141; "),
        ];
        for (limit, n_tokens, expected) in cases {
            assert_eq!(limit.n_tokens, n_tokens, "{expected}");
            let error = TokenizerError::TooManyTokens { limit: n_tokens, n_bytes: 1000, at_least: 100 };
            let message = limit.error(error.into()).to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_prompt_whose_end_is_kept_is_tokenized_whole() {
        let kept = limit(|limits| {
            limits.max_input_tokens = Some(7);
            limits.long_input = LongInput::KeepTail;
        });
        assert_eq!(kept.n_tokens, usize::MAX);
    }
}
