//! Who gets an answer, and in which form.

use serde_json::Value;
use sm_server::wire::openai::{ChatReading, Endpoint, Extras};

/// Who gets an answer.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    /// The request's `id` or `custom_id`.
    id: Value,
    /// The line of the request, from 1.
    pub(super) number: u64,
    /// What the answer looks like.
    pub(super) form: Form,
    /// Whether the answer is a list of choices.
    pub(super) is_list: bool,
}

/// What an answer looks like.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// A line of our own.
    Plain,
    /// A line of an output file of OpenAI's batches.
    OpenAi(Box<OpenAiForm>),
}

/// What an answer in OpenAI's form depends on.
#[derive(Clone, Debug)]
pub(super) struct OpenAiForm {
    /// What was asked for.
    pub(super) endpoint: Endpoint,
    /// The model as the request names it.
    pub(super) model: String,
    /// How the text of a chat is read.
    pub(super) reading: Option<ChatReading>,
    /// What the answer contains beside the usual.
    pub(super) extras: Extras,
}

impl Recipient {
    /// One of an answer of our own form.
    pub(super) fn plain(id: Value) -> Self {
        Self { id, number: 0, form: Form::Plain, is_list: false }
    }

    /// One of an answer in OpenAI's form.
    pub(super) fn open_ai(id: Value, number: u64, form: OpenAiForm) -> Self {
        Self { id, number, form: Form::OpenAi(Box::new(form)), is_list: true }
    }

    pub(super) fn id(&self) -> &Value {
        &self.id
    }
}
