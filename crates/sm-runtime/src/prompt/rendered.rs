//! Prompts ready for the tokenizer, with messages rendered to text.

use std::borrow::Cow;
use std::sync::Arc;

use sm_cache::SessionMode;
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::tokenizer::EncodeOptions;
use sm_tensor::TokenId;

use super::{ChatRequest, Prompt};
use crate::text::{Text, TextStart};
use crate::{Error, GenerationOptions};

/// A prompt ready for tokenization.
#[derive(Debug)]
pub(crate) enum RenderedPrompt<'p> {
    Text(&'p str),
    Append(&'p str),
    Tokens(&'p [TokenId]),
    Chat {
        text: Cow<'p, str>,
        start: TextStart,
        /// The text as a continuation of an answer, for sessions in append mode. An error here only matters if the session
        /// holds an answer.
        after_answer: Option<Result<String, Error>>,
    },
}

impl<'p> RenderedPrompt<'p> {
    /// Renders messages; leaves other prompts unchanged.
    ///
    /// # Errors
    /// If there are messages but no usable template, or the template fails.
    pub(crate) fn new(
        prompt: &'p Prompt,
        template: Result<&ChatTemplate, &Arc<ChatError>>,
        session: Option<SessionMode>,
    ) -> Result<Self, Error> {
        Ok(match prompt {
            Prompt::Text(text) => Self::Text(text),
            Prompt::Append(text) => Self::Append(text),
            Prompt::Tokens(tokens) => Self::Tokens(tokens),
            Prompt::Chat(text) => Self::Chat { text: text.into(), start: TextStart::New, after_answer: None },
            Prompt::Messages(request) => {
                let template = template.map_err(|error| Error::Chat(Arc::clone(error)))?;
                Self::of_messages(request, template, session)?
            }
        })
    }

    fn of_messages(
        request: &ChatRequest,
        template: &ChatTemplate,
        session: Option<SessionMode>,
    ) -> Result<Self, Error> {
        let start = if request.continues_message() { TextStart::Continued } else { TextStart::New };
        let appends = session == Some(SessionMode::Append);
        let after_answer = appends.then(|| request.render_after_answer(template));
        Ok(Self::Chat { text: request.render(template)?.into(), start, after_answer })
    }

    /// Tokenizes the prompt without preceding context.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`]; if the text cannot be encoded.
    pub(crate) fn encode(&self, text: &Text) -> Result<(Vec<TokenId>, TextStart), Error> {
        Ok(match self {
            Self::Text(prompt) | Self::Append(prompt) => {
                (text.encode(prompt, EncodeOptions::PROMPT)?, TextStart::Continued)
            }
            Self::Tokens(tokens) => (tokens.to_vec(), TextStart::Continued),
            Self::Chat { text: prompt, start, .. } => {
                (text.encode(prompt, EncodeOptions::RENDERED_CHAT)?, *start)
            }
        })
    }

    /// Tokenizes the prompt as a continuation of earlier turns, if that differs from [`RenderedPrompt::encode`].
    ///
    /// # Errors
    /// As [`RenderedPrompt::encode`].
    pub(crate) fn encode_appended(&mut self, text: &Text) -> Option<Result<Vec<TokenId>, Error>> {
        match self {
            Self::Append(prompt) => Some(text.encode(prompt, EncodeOptions::PLAIN)),
            Self::Chat { after_answer, .. } => {
                after_answer.take().map(|rendered| text.encode(&rendered?, EncodeOptions::RENDERED_CHAT))
            }
            Self::Text(_) | Self::Tokens(_) => None,
        }
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
            Self::Chat { text: prompt, .. } => Ok(prompt.clone().into_owned()),
            Self::Tokens(tokens) => text.decode(tokens),
        }
    }
}
