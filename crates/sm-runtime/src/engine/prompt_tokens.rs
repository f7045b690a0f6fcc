//! What a caller's thread makes of a prompt for the engine's thread.

use std::sync::Arc;

use sm_tensor::TokenId;

use super::Engine;
use crate::input::{Input, ModelBounds};
use crate::prompt::RenderedPrompt;
use crate::prompt_limit::PromptLimit;
use crate::text::TextStart;
use crate::{ChatRequest, Error, GenerationOptions, Prompt, Request};

/// A tokenized prompt.
pub(crate) enum PromptTokens {
    /// Without a session: checked when it was submitted.
    Alone(Input),
    /// Which tokens apply is known once the session is looked up.
    InSession {
        /// Tokens without preceding context.
        first: Vec<TokenId>,
        start: TextStart,
        /// Tokens after a session's context, if they differ.
        appended: Option<Result<Vec<TokenId>, Error>>,
    },
}

impl Engine {
    /// The tokens of a prompt, as a request with these options would have them, and checked as it would be.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn prompt_tokens(&self, prompt: Prompt, options: GenerationOptions) -> Result<Vec<TokenId>, Error> {
        let request = Request::new(prompt, options);
        request.validate()?;
        match self.prompt(&request)?.0 {
            PromptTokens::Alone(input) => Ok(input.tokens),
            PromptTokens::InSession { first, .. } => Ok(first),
        }
    }

    /// The tokens of a conversation that goes on: earlier prompts and answers as tokens, without the end of the last answer,
    /// then the messages since, rendered as they follow an answer.
    ///
    /// # Errors
    /// If the model has no usable template, or the template fails; [`Error::NoTokenizer`].
    pub fn prompt_after_answer(
        &self,
        mut context: Vec<TokenId>,
        messages: &ChatRequest,
    ) -> Result<Vec<TokenId>, Error> {
        let template = self.0.model.template().map_err(|error| Error::Chat(Arc::clone(error)))?;
        let next = messages.render_after_answer(template)?;
        context.extend(self.0.model.text.encode_chat(&next, usize::MAX)?);
        Ok(context)
    }

    /// Renders and tokenizes a prompt, and checks it as far as possible without knowing a session. Returns with it the text that
    /// the answer begins with.
    pub(super) fn prompt(&self, request: &Request) -> Result<(PromptTokens, String), Error> {
        let mode = request.session.as_ref().map(|(_, mode)| *mode);
        mode.map_or(Ok(()), |mode| self.check_session(mode))?;
        let text = &self.0.model.text;
        let mut rendered = RenderedPrompt::new(&request.prompt, self.0.model.template(), mode)?;
        let echo = rendered.echo(text, &request.options)?;
        let bounds = ModelBounds { context_len: self.context_len(), ..self.0.model.bounds() };
        let limit = PromptLimit::new(&request.options, bounds.context_len);
        let (first, start) = rendered.encode(text, limit)?;
        let prompt = match mode {
            None => PromptTokens::Alone(Input::new(first, start, &request.options, &bounds)?),
            Some(_) => {
                PromptTokens::InSession { first, start, appended: rendered.encode_appended(text, limit) }
            }
        };
        Ok((prompt, echo))
    }
}
