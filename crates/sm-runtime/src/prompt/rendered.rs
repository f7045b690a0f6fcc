//! Prompts ready for the tokenizer, with messages rendered to text.

use std::sync::Arc;

use sm_cache::SessionMode;
use sm_model::chat::ChatError;
use sm_model::tokenizer::{EncodeOptions, GuardedText};
use sm_tensor::TokenId;

use super::{ChatRequest, Prompt, Template};
use crate::prompt_limit::PromptLimit;
use crate::text::{Text, TextStart};
use crate::{Error, GenerationOptions};

/// A prompt ready for tokenization.
#[derive(Debug)]
pub(crate) enum RenderedPrompt<'p> {
    Text(&'p str),
    Append(&'p str),
    Tokens(&'p [TokenId]),
    Chat {
        text: GuardedText,
        start: TextStart,
        /// The text where it follows an answer, for messages in a session in append mode. An error of those only whose
        /// session holds an answer.
        after_answer: Option<Result<GuardedText, Error>>,
    },
}

impl<'p> RenderedPrompt<'p> {
    /// Renders messages; leaves other prompts unchanged.
    ///
    /// # Errors
    /// If there are messages but no usable template, or the template fails.
    pub(crate) fn new(
        prompt: &'p Prompt,
        template: Result<Template<'_>, &Arc<ChatError>>,
        session: Option<SessionMode>,
    ) -> Result<Self, Error> {
        Ok(match prompt {
            Prompt::Text(text) => Self::Text(text),
            Prompt::Append(text) => Self::Append(text),
            Prompt::Tokens(tokens) => Self::Tokens(tokens),
            Prompt::Chat(text) => {
                let text = text.clone().into();
                Self::Chat { text, start: TextStart::New, after_answer: None }
            }
            Prompt::Messages(request) => {
                let template = template.map_err(|error| Error::Chat(Arc::clone(error)))?;
                Self::of_messages(request, template, session)?
            }
        })
    }

    fn of_messages(
        request: &ChatRequest,
        template: Template<'_>,
        session: Option<SessionMode>,
    ) -> Result<Self, Error> {
        let start = if request.continues_message() { TextStart::Continued } else { TextStart::New };
        let appends = session == Some(SessionMode::Append);
        let after_answer = appends.then(|| request.render_after_answer(template));
        Ok(Self::Chat { text: request.render(template)?, start, after_answer })
    }

    /// Tokenizes the prompt without preceding context, up to the limit.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`]; [`Error::ResourceLimit`]; if the text cannot be encoded.
    pub(crate) fn encode(&self, text: &Text, limit: PromptLimit) -> Result<(Vec<TokenId>, TextStart), Error> {
        let (tokens, start) = match self {
            Self::Text(prompt) | Self::Append(prompt) => {
                (text.encode_prompt(prompt, EncodeOptions::PROMPT, limit.n_tokens), TextStart::Continued)
            }
            Self::Tokens(tokens) => (Ok(tokens.to_vec()), TextStart::Continued),
            Self::Chat { text: prompt, start, .. } => (text.encode_chat(prompt, limit.n_tokens), *start),
        };
        Ok((tokens.map_err(|error| limit.error(error))?, start))
    }

    /// Tokenizes the prompt as a continuation of earlier turns, if that differs from [`RenderedPrompt::encode`].
    ///
    /// # Errors
    /// As [`RenderedPrompt::encode`].
    pub(crate) fn encode_appended(
        &mut self,
        text: &Text,
        limit: PromptLimit,
    ) -> Option<Result<Vec<TokenId>, Error>> {
        let tokens = match self {
            Self::Append(prompt) => Some(text.encode_prompt(prompt, EncodeOptions::PLAIN, limit.n_tokens)),
            Self::Chat { after_answer, .. } => {
                after_answer.take().map(|rendered| text.encode_chat(&rendered?, limit.n_tokens))
            }
            Self::Text(_) | Self::Tokens(_) => None,
        };
        tokens.map(|tokens| tokens.map_err(|error| limit.error(error)))
    }

    /// Initial text of the output: the prompt if `echo` is set, otherwise empty.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] for tokens that cannot become text.
    pub(crate) fn echo(&self, text: &Text, options: &GenerationOptions) -> Result<String, Error> {
        if !options.echo {
            return Ok(String::new());
        }
        match self {
            Self::Text(prompt) | Self::Append(prompt) => Ok((*prompt).to_owned()),
            Self::Chat { text: prompt, .. } => Ok(prompt.text.clone()),
            Self::Tokens(tokens) => text.decode(tokens),
        }
    }
}
