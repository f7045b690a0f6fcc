//! Reads a body.

use serde_json::{Map, Value};
use sm_runtime::model::tokenizer::{EncodeOptions, Tokenizer};
use sm_runtime::{GenerationOptions, LogprobsOf, Prompt, TokenId};

use super::prompt::prompts;
use crate::wire::fields::SeenFields;
use crate::wire::{FieldError, options};

/// Fields that do not change the answer: which slot, and how fast.
const WITHOUT_EFFECT: [&str; 6] =
    ["id_slot", "slot_id", "n_cache_reuse", "backend_sampling", "n_threads", "user"];

/// What a body asks for.
#[derive(Clone, Debug)]
pub struct CompletionCall {
    /// The prompts, at least one.
    pub prompts: Vec<Prompt>,
    /// Whether the answer is a list, even of one.
    pub is_list: bool,
    /// Options of the generation.
    pub options: GenerationOptions,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// Whether the answer has tokens. Chunks of a stream always have.
    pub has_tokens: bool,
    /// Whether keys and values that others computed may be used. Changes nothing but the time.
    pub shares_cache: bool,
    /// The fields of the answer, by their paths; all if empty.
    pub fields: Vec<String>,
    /// Whether each chunk of a stream tells how long it took.
    pub has_timings: bool,
    /// Whether a stream begins with chunks that tell how far the prompt is.
    pub reports_progress: bool,
}

/// Reads a body. `options` apply to what it does not set.
///
/// # Errors
/// The first field that is wrong.
pub fn read(
    body: &Map<String, Value>,
    options: GenerationOptions,
    tokenizer: Option<&dyn Tokenizer>,
) -> Result<CompletionCall, FieldError> {
    let mut call = CompletionCall { has_tokens: false, ..CompletionCall::whole(options) };
    let mut seen = SeenFields::default();
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        let set = seen.note(name).and_then(|()| call.set(name, value, tokenizer));
        set.map_err(|message| FieldError::new(name, message))?;
    }
    if call.prompts.is_empty() {
        return Err(FieldError::new("prompt", "missing"));
    }
    if call.is_stream && call.is_list {
        return Err(FieldError::new("prompt", "a stream has one prompt; send a request for each"));
    }
    Ok(call)
}

impl CompletionCall {
    /// A call for one answer with all its fields, and without a prompt.
    pub(super) fn whole(options: GenerationOptions) -> Self {
        Self {
            prompts: Vec::new(),
            is_list: false,
            options,
            is_stream: false,
            has_tokens: true,
            shares_cache: true,
            fields: Vec::new(),
            has_timings: false,
            reports_progress: false,
        }
    }

    fn set(&mut self, name: &str, value: &Value, tokenizer: Option<&dyn Tokenizer>) -> Result<(), String> {
        match name {
            "model" => options::text(value).map(drop),
            "prompt" => {
                (self.prompts, self.is_list) = prompts(value, tokenizer)?;
                Ok(())
            }
            "stream" => options::flag(value).map(|it| self.is_stream = it),
            "return_tokens" => options::flag(value).map(|it| self.has_tokens = it),
            "timings_per_token" => options::flag(value).map(|it| self.has_timings = it),
            "return_progress" => options::flag(value).map(|it| self.reports_progress = it),
            "cache_prompt" => options::flag(value).map(|it| self.shares_cache = it),
            "response_fields" => texts(value).map(|it| self.fields = it),
            "n_probs" => options::count(value).map(|it| self.options.logprobs = (it > 0).then_some(it)),
            "post_sampling_probs" => options::flag(value).map(|it| {
                self.options.logprobs_of = if it { LogprobsOf::Candidates } else { LogprobsOf::Model };
            }),
            "logit_bias" => {
                let biases = biases(value, tokenizer)?;
                self.options.sampling.logit_bias = biases;
                Ok(())
            }
            "repeat_last_n" => last_n(value).map(|window| match window {
                Some(n) => self.options.sampling.repetition_window = n,
                None => self.options.sampling.repetition_penalty = 1.0,
            }),
            "dry_penalty_last_n" => last_n(value).map(|window| match window {
                Some(n) => self.options.sampling.dry.window = n,
                None => self.options.sampling.dry.multiplier = 0.0,
            }),
            "n_keep" | "n_discard" | "min_keep" if value == 0 || (name == "n_keep" && value == -1) => Ok(()),
            "lora" if value.as_array().is_some_and(Vec::is_empty) => Ok(()),
            _ if WITHOUT_EFFECT.contains(&name) || name.starts_with("speculative.") => Ok(()),
            _ => options::set(&mut self.options, options::canonical(name), value)
                .unwrap_or_else(|| Err("unknown field; correct its name, or leave it out".to_owned())),
        }
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let list =
        value.as_array().and_then(|list| list.iter().map(|each| each.as_str().map(str::to_owned)).collect());
    list.ok_or_else(|| "must be a list of texts".to_owned())
}

/// How many tokens count: `None` for 0, which is none, and 0 for -1, which is all, as the options have it.
fn last_n(value: &Value) -> Result<Option<usize>, String> {
    match value.as_i64() {
        Some(-1) => Ok(Some(0)),
        Some(0) => Ok(None),
        _ => options::count(value).map(Some),
    }
}

/// Pairs, or an object, of a token id or a text and a number or `false`. A text is biased token by token.
fn biases(value: &Value, tokenizer: Option<&dyn Tokenizer>) -> Result<Vec<(TokenId, f32)>, String> {
    let what =
        || "must be a list of pairs of a token id or a text and a number, or an object of them".to_owned();
    let pairs: Vec<(Value, Value)> = match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, bias)| {
                (key.parse::<u32>().map_or_else(|_| key.clone().into(), Value::from), bias.clone())
            })
            .collect(),
        Value::Array(list) => {
            let pair = |pair: &Value| match pair.as_array()?.as_slice() {
                [token, bias] => Some((token.clone(), bias.clone())),
                _ => None,
            };
            list.iter().map(pair).collect::<Option<_>>().ok_or_else(what)?
        }
        _ => return Err(what()),
    };
    let mut biases = Vec::new();
    for (token, bias) in pairs {
        let bias = match bias {
            Value::Bool(false) => f32::NEG_INFINITY,
            other => other.as_f64().ok_or_else(what)? as f32,
        };
        match (token.as_u64().and_then(|id| u32::try_from(id).ok()), token.as_str()) {
            (Some(id), _) => biases.push((TokenId(id), bias)),
            (None, Some(text)) => {
                let tokenizer = tokenizer.ok_or("has texts, but the model has no tokenizer")?;
                let ids = tokenizer.encode(text, EncodeOptions::PLAIN).map_err(|error| error.to_string())?;
                biases.extend(ids.into_iter().map(|id| (id, bias)));
            }
            (None, None) => return Err(what()),
        }
    }
    biases.sort_by_key(|(id, _)| id.0);
    biases.dedup_by_key(|(id, _)| *id);
    Ok(biases)
}
