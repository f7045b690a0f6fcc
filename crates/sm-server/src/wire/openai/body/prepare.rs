//! What of a request depends on the model: its template, and the form in which it calls tools.

use sm_runtime::LoadedModel;
use sm_runtime::model::tokenizer::Tokenizer;

use super::Call;
use crate::chat::{AnswerFormat, AnswerStart, ToolForm, adapted};
use crate::wire::FieldError;
use crate::wire::openai::ChatReading;

impl Call {
    /// Fits a chat to the model, and tells how its answers are read; `None` if it is no chat. `form` replaces the form of calls
    /// that the template shows. Renders the template, so it may block.
    ///
    /// # Errors
    /// If the tools cannot be used as asked for.
    pub fn prepare(
        &mut self,
        model: &LoadedModel,
        form: Option<ToolForm>,
    ) -> Result<Option<ChatReading>, FieldError> {
        let Some(chat) = &self.chat else { return Ok(None) };
        // Without a template, the request fails, and says so.
        let Ok(template) = model.chat_template() else { return Ok(None) };
        let source = template.source(!chat.tools.is_empty());
        let format = AnswerFormat::of_template(template, &chat.tools);
        let format = form.into_iter().fold(format, AnswerFormat::with_form);
        let format = format.used(&chat.tool_use).with_reasoning(chat.reasoning);
        let (messages, tools) = adapted(&chat.messages, &chat.tools, format.form(), &source);
        let request = chat.request(&messages, &tools);
        let start = AnswerStart::of_answer_to(&request, template);
        let options = &mut self.request.options;
        options.special_tokens = format.special_tokens();
        let tokenizer = model.tokenizer().map(|tokenizer| &**tokenizer as &dyn Tokenizer);
        let grammar = format.grammar(&chat.tool_use, options.grammar.as_ref(), start, tokenizer);
        if let Some(grammar) = grammar.map_err(|message| FieldError::new("tools", message))? {
            options.grammar = Some(grammar);
        }
        self.request.prompt = request.into();
        Ok(Some(ChatReading { format, start }))
    }
}
