//! Prompts as a model sees them, without a request: for callers that show or count them.

use sm_model::tokenizer::EncodeOptions;
use sm_tensor::TokenId;

use super::LoadedModel;
use crate::prompt::RenderedPrompt;
use crate::prompt_limit::PromptLimit;
use crate::{ChatRequest, Error, GenerationOptions, Prompt};

impl LoadedModel {
    /// The text that messages become by the chat template.
    ///
    /// # Errors
    /// If there is no usable template, or it refuses the messages.
    pub fn render(&self, chat: &ChatRequest) -> Result<String, Error> {
        Ok(match RenderedPrompt::new(&chat.clone().into(), self.template(), None)? {
            RenderedPrompt::Chat { text, .. } => text.text,
            RenderedPrompt::Text(text) | RenderedPrompt::Append(text) => text.to_owned(),
            RenderedPrompt::Tokens(tokens) => self.text.decode(tokens)?,
        })
    }

    /// The tokens of a prompt, as a request with it would compute them, whatever the length.
    ///
    /// # Errors
    /// As [`LoadedModel::render`]; [`Error::NoTokenizer`]; if the text cannot be encoded.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<TokenId>, Error> {
        if let Prompt::Append(text) = prompt {
            return self.text.encode(text, EncodeOptions::PLAIN);
        }
        let limit = PromptLimit::new(&GenerationOptions::new(), usize::MAX);
        Ok(RenderedPrompt::new(prompt, self.template(), None)?.encode(&self.text, limit)?.0)
    }
}

#[cfg(all(test, feature = "cpu", feature = "demo-model"))]
mod tests {
    use crate::{ChatRequest, Loader, ModelRef, Prompt};

    #[test]
    fn a_prompt_is_shown_and_counted_as_a_request_computes_it() {
        let model = Loader::new(ModelRef::Demo).load().unwrap();
        let chat = ChatRequest::new().user("Hi");
        let text = model.render(&chat).unwrap();
        assert!(text.contains("Hi"), "{text}");
        let tokens = model.tokenize(&chat.into()).unwrap();
        assert_eq!(tokens, model.tokenize(&Prompt::Chat(text)).unwrap());
        let plain = model.tokenize(&Prompt::Append("Hi".into())).unwrap();
        assert!(tokens.len() > plain.len());
    }
}
