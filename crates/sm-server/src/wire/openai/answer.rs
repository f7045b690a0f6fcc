//! Answers at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, GenerationOptions, SpecialTokens, TokenId, Usage};

use super::logprobs::{Scored, logprobs, prompt_logprobs, scored_prompt};
use super::{Endpoint, finish_reason, finish_reason_of_calls};
use crate::chat::{Answer, AnswerFormat, AnswerStart, ToolCall};
use crate::wire::llamacpp;

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

/// What an answer contains beside the usual.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Whether a stream ends with the usage.
    pub includes_usage: bool,
    /// Whether each chunk of a stream has the usage so far.
    pub has_running_usage: bool,
    /// Whether there are the ids of the tokens.
    pub has_token_ids: bool,
    /// Whether there are the log-probabilities of the prompt, as in vLLM.
    pub has_prompt_logprobs: bool,
    /// Whether the text begins with the prompt.
    pub echoes: bool,
    /// Whether only the prompt is wanted, of which one token was generated.
    pub drops_output: bool,
    /// Whether thoughts are left out.
    pub hides_reasoning: bool,
    /// Whether an answer, and each chunk of a stream, tells how long it took, as in llama.cpp.
    pub has_timings: bool,
    /// Whether a stream begins with chunks that tell how far the prompt is, as in llama.cpp.
    pub reports_progress: bool,
    /// Whether an answer has its prompt and settings as `__verbose`, as in llama.cpp.
    pub is_verbose: bool,
}

/// All that an answer's form depends on.
#[derive(Clone, Debug)]
pub struct AnswerShape {
    /// What its parts begin with.
    pub head: ResponseHead,
    /// How a chat's text is read; as it is if `None`.
    pub reading: Option<ChatReading>,
    /// What it contains beside the usual.
    pub extras: Extras,
    /// Writes the tokens of log-probabilities.
    pub tokenizer: Option<Arc<dyn Tokenizer>>,
    /// How many choices each prompt has.
    pub n_choices: usize,
    /// The options of the generation, if the answer has them as [`Extras::is_verbose`] says.
    pub verbose: Option<Box<GenerationOptions>>,
}

/// The answer to a request that succeeded. There is at least one completion; those of a prompt follow each other.
pub fn completion(shape: &AnswerShape, completions: &[Completion]) -> Value {
    let mut answer = shape.head.object(false);
    answer["choices"] =
        completions.iter().enumerate().map(|(index, each)| choice(shape, index, each)).collect();
    answer["usage"] = usage(shape, completions);
    if let (Endpoint::ChatCompletions, Some(first)) = (shape.head.endpoint, completions.first()) {
        add_prompt(shape, first, &mut answer);
    }
    if let Some(first) = completions.first() {
        add_llamacpp(shape, first, &mut answer);
    }
    answer
}

/// What llama.cpp's server adds for those who ask.
pub(super) fn add_llamacpp(shape: &AnswerShape, completion: &Completion, place: &mut Value) {
    if shape.extras.has_timings {
        place["timings"] = llamacpp::timings(completion);
    }
    if let Some(options) = &shape.verbose {
        let tokenizer = shape.tokenizer.as_deref();
        place["__verbose"] = llamacpp::whole(&shape.head.model, completion, options, tokenizer);
    }
}

/// What was asked for of the prompt.
fn add_prompt(shape: &AnswerShape, completion: &Completion, place: &mut Value) {
    if shape.extras.has_prompt_logprobs {
        place["prompt_logprobs"] = prompt_logprobs(completion, shape.tokenizer.as_deref());
    }
    if shape.extras.has_token_ids {
        place["prompt_token_ids"] = ids(&completion.prompt_tokens);
    }
}

pub(super) fn ids(tokens: &[TokenId]) -> Value {
    tokens.iter().map(|token| token.0).collect()
}

fn choice(shape: &AnswerShape, index: usize, completion: &Completion) -> Value {
    let AnswerShape { head, extras, .. } = shape;
    let pairs = completion.tokens.iter().zip(&completion.logprobs);
    let mut scored: Vec<Scored> = pairs.map(|(token, of)| Scored::new(*token, of)).collect();
    if extras.drops_output {
        scored.clear();
    }
    if extras.echoes && completion.logprobs.len() == completion.tokens.len() {
        let has_scores = !completion.prompt_logprobs.is_empty();
        scored.splice(0..0, has_scores.then(|| scored_prompt(completion)).into_iter().flatten());
        // As in vLLM: who scores a prompt with one more token leaves the last score out, whatever token it is of.
        let end = completion.end.as_ref().filter(|_| has_scores && !extras.drops_output);
        scored.extend(end.map(|(token, of)| Scored::new(*token, of)));
    }
    let logprobs = logprobs(head.endpoint, &scored, 0, shape.tokenizer.as_deref());
    let reason = if extras.drops_output { "length" } else { finish_reason(completion.finish_reason) };
    let mut choice = match head.endpoint {
        Endpoint::ChatCompletions => chat_choice(shape, completion, reason),
        Endpoint::Completions => {
            let mut choice = json!({"text": text(shape, completion), "finish_reason": reason});
            add_prompt(shape, completion, &mut choice);
            choice
        }
    };
    choice["index"] = index.into();
    choice["logprobs"] = logprobs;
    if extras.has_token_ids {
        choice["token_ids"] = if extras.drops_output { json!([]) } else { ids(&completion.tokens) };
    }
    choice
}

/// The text, or the prompt alone.
fn text(shape: &AnswerShape, completion: &Completion) -> String {
    let tokenizer = shape.tokenizer.as_ref().filter(|_| shape.extras.drops_output);
    match tokenizer {
        None => completion.text.clone(),
        Some(_) if !shape.extras.echoes => String::new(),
        Some(tokenizer) => tokenizer.decode(&completion.prompt_tokens, SpecialTokens::Skip),
    }
}

fn chat_choice(shape: &AnswerShape, completion: &Completion, reason: &'static str) -> Value {
    let text = &completion.text;
    let mut answer = match &shape.reading {
        Some(ChatReading { format, start }) => {
            format.answer(text, *start, shape.head.call_seed(completion.choice))
        }
        None => Answer { content: text.clone(), ..Answer::default() },
    };
    if shape.extras.hides_reasoning {
        answer.reasoning.clear();
    }
    let reason = if answer.calls.is_empty() { reason } else { finish_reason_of_calls(reason) };
    json!({"message": message(answer), "finish_reason": reason})
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

/// Tokens of the prompts, each of which counts once, and of all choices.
pub(super) fn usage(shape: &AnswerShape, completions: &[Completion]) -> Value {
    let of_prompts = completions.iter().step_by(shape.n_choices.max(1)).map(|completion| completion.usage);
    let (prompt_tokens, cached_tokens) = of_prompts.fold((0, 0), |(prompt, cached), usage: Usage| {
        (prompt + usage.prompt_tokens, cached + usage.cached_tokens)
    });
    let mut completion_tokens: usize = completions.iter().map(|each| each.usage.generated_tokens).sum();
    if shape.extras.drops_output {
        completion_tokens = 0;
    }
    let mut usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    });
    if shape.head.tells_of_cache {
        usage["prompt_tokens_details"] = json!({ "cached_tokens": cached_tokens });
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
    /// All its names.
    pub aliases: Vec<String>,
    /// What it is for, in the words of who runs the server.
    pub tags: Vec<String>,
    /// Who offers it.
    pub owned_by: &'static str,
    /// The model that it is, by its own name.
    pub root: String,
    /// Tokens of prompt and answer together, while it is loaded.
    pub max_model_len: Option<usize>,
}

/// A list of models.
#[derive(Debug, Serialize)]
pub struct ModelList {
    /// `list`
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelObject>,
}
