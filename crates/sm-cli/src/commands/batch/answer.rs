//! Lines of the output.

use serde::Serialize;
use serde_json::Value;
use sm_runtime::Completion;
use std::sync::Arc;

use sm_runtime::model::tokenizer::Tokenizer;

use super::openai;
use super::recipient::{Form, Recipient};
use super::refusal::Refusal;
use crate::args::is_cut;
use crate::console::to_json;
use crate::failure::Failure;
use crate::logprob::{Logprob, logprobs};

/// A line of the output.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) json: String,
    pub(super) is_failed: bool,
    /// Whether an output ends before the form that was asked for is complete.
    pub(super) is_cut_form: bool,
    /// Generated tokens.
    pub(super) n_tokens: usize,
    /// Offset of the end of the request in the input, in bytes.
    pub(super) line_end: u64,
}

/// An answer as JSON.
#[derive(Debug, Serialize)]
struct Answered<'a> {
    id: &'a Value,
    #[serde(flatten)]
    only: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<Choice<'a>>,
    usage: Usage,
    seed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompt_logprobs: Vec<Logprob>,
}

/// One of the outputs.
#[derive(Debug, Serialize)]
struct Choice<'a> {
    text: &'a str,
    tokens: Vec<u32>,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<Logprob>,
}

/// The part of the usage that does not depend on other requests.
#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    generated_tokens: usize,
}

#[derive(Debug, Serialize)]
struct Failed<'a> {
    id: &'a Value,
    error: &'a str,
}

impl Answer {
    /// The answer to a request that succeeded, with one completion or more.
    ///
    /// # Errors
    /// If it cannot be serialized as JSON.
    pub(super) fn new(
        recipient: &Recipient,
        completions: &[Completion],
        tokenizer: Option<&Arc<dyn Tokenizer>>,
        line_end: u64,
    ) -> Result<Self, Failure> {
        let json = match &recipient.form {
            Form::Plain => plain(recipient, completions)?,
            Form::OpenAi(form) => to_json(&openai::answered(recipient, form, completions, tokenizer))?,
        };
        let n_tokens = completions.iter().map(|each| each.usage.generated_tokens).sum();
        Ok(Self { json, is_failed: false, is_cut_form: false, n_tokens, line_end })
    }

    /// The answer to a request that failed.
    ///
    /// # Errors
    /// If it cannot be serialized as JSON.
    pub(super) fn failed(recipient: &Recipient, refusal: &Refusal, line_end: u64) -> Result<Self, Failure> {
        let json = match &recipient.form {
            Form::Plain => to_json(&Failed { id: recipient.id(), error: &refusal.message })?,
            Form::OpenAi(_) => to_json(&openai::failed(recipient, refusal))?,
        };
        Ok(Self { json, is_failed: true, is_cut_form: false, n_tokens: 0, line_end })
    }

    /// Marks the answer if its request asked for a form and a limit cut the output.
    pub(super) fn of_form(self, completions: &[Completion]) -> Self {
        Self { is_cut_form: completions.iter().any(is_cut), ..self }
    }
}

fn plain(recipient: &Recipient, completions: &[Completion]) -> Result<String, Failure> {
    let first = &completions[0];
    let mut choices: Vec<Choice<'_>> = completions.iter().map(choice).collect();
    to_json(&Answered {
        id: recipient.id(),
        only: if recipient.is_list { None } else { choices.pop() },
        choices,
        usage: Usage {
            prompt_tokens: first.usage.prompt_tokens,
            generated_tokens: completions.iter().map(|each| each.usage.generated_tokens).sum(),
        },
        seed: first.seed,
        prompt_logprobs: logprobs(&first.prompt_logprobs),
    })
}

fn choice(completion: &Completion) -> Choice<'_> {
    let Completion { text, tokens, finish_reason, logprobs, .. } = completion;
    Choice {
        text,
        tokens: tokens.iter().map(|token| token.0).collect(),
        finish_reason: finish_reason.name(),
        logprobs: self::logprobs(logprobs),
    }
}
