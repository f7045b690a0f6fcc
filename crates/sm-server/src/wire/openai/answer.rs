//! Answers at once.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, Usage};

use super::logprobs::{Scored, logprobs};
use super::{Endpoint, finish_reason, finish_reason_of_calls};
use crate::chat::{Answer, AnswerFormat, AnswerStart, ToolCall};

/// What all parts of an answer begin with.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Which of the two.
    pub endpoint: Endpoint,
    /// The id, without its prefix.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// What computes: the same fingerprint and seed give the same text.
    pub fingerprint: Option<String>,
    /// Whether the usage tells what was cached, which depends on other requests.
    pub tells_of_cache: bool,
}

impl ResponseHead {
    /// What the ids of a choice's calls are made from.
    pub(super) fn call_seed(&self, choice: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.id, choice).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn object(&self, is_chunk: bool) -> Value {
        let object = match (self.endpoint, is_chunk) {
            (Endpoint::ChatCompletions, false) => "chat.completion",
            (Endpoint::ChatCompletions, true) => "chat.completion.chunk",
            (Endpoint::Completions, _) => "text_completion",
        };
        json!({
            "id": format!("{}-{}", self.endpoint.id_prefix(), self.id),
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        })
    }
}

/// How the text of a chat's answers is read, and where it starts.
#[derive(Clone, Debug)]
pub struct ChatReading {
    /// The format of the model.
    pub format: AnswerFormat,
    /// Where the answers start.
    pub start: AnswerStart,
}

/// The answer to a request that succeeded. There is at least one completion.
pub fn completion(
    head: &ResponseHead,
    completions: &[Completion],
    reading: Option<&ChatReading>,
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    let mut answer = head.object(false);
    answer["choices"] = completions.iter().map(|each| choice(head, each, reading, tokenizer)).collect();
    answer["usage"] = usage(head, completions);
    answer
}

fn choice(
    head: &ResponseHead,
    completion: &Completion,
    reading: Option<&ChatReading>,
    tokenizer: Option<&dyn Tokenizer>,
) -> Value {
    let endpoint = head.endpoint;
    let pairs = completion.tokens.iter().zip(&completion.logprobs);
    let scored = pairs.map(|(token, of)| Scored { token: *token, logprob: of.logprob, top: of.top.clone() });
    let logprobs = logprobs(endpoint, &scored.collect::<Vec<_>>(), 0, tokenizer);
    let reason = finish_reason(completion.finish_reason);
    let text = &completion.text;
    let index = completion.choice;
    match endpoint {
        Endpoint::ChatCompletions => {
            let answer = match reading {
                Some(ChatReading { format, start }) => format.answer(text, *start, head.call_seed(index)),
                None => Answer { content: text.clone(), ..Answer::default() },
            };
            let reason = if answer.calls.is_empty() { reason } else { finish_reason_of_calls(reason) };
            json!({
                "index": index,
                "message": message(answer),
                "logprobs": logprobs,
                "finish_reason": reason,
            })
        }
        Endpoint::Completions => {
            json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
        }
    }
}

/// An answer as a message. Fields that few answers have are left out of the others.
fn message(answer: Answer) -> Value {
    let Answer { reasoning, content, calls } = answer;
    let content = if content.is_empty() && !calls.is_empty() { Value::Null } else { content.into() };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(tool_call).collect();
    }
    message
}

fn tool_call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments } = call;
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// Tokens of the prompt, which counts once, and of all choices.
pub(super) fn usage(head: &ResponseHead, completions: &[Completion]) -> Value {
    let of_prompt = completions.first().map_or_else(Usage::default, |completion| completion.usage);
    let completion_tokens: usize = completions.iter().map(|each| each.usage.generated_tokens).sum();
    let prompt_tokens = of_prompt.prompt_tokens;
    let mut usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    });
    if head.tells_of_cache {
        usage["prompt_tokens_details"] = json!({"cached_tokens": of_prompt.cached_tokens});
    }
    usage
}

/// A model.
#[derive(Debug, Serialize)]
pub struct ModelObject {
    /// Its name.
    pub id: String,
    /// `model`
    pub object: &'static str,
    /// Seconds since 1970 when it was added.
    pub created: u64,
    /// Who offers it.
    pub owned_by: &'static str,
}

/// A list of models.
#[derive(Debug, Serialize)]
pub struct ModelList {
    /// `list`
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelObject>,
}
