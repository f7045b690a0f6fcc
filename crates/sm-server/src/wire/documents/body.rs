//! Reads a body.

use serde_json::{Map, Value};
use sm_runtime::{GenerationOptions, Priority, SamplingOptions};

use crate::wire::fields::{self, SeenFields};
use crate::wire::{FieldError, options};

/// What a model is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Continue a prompt.
    Generate,
    /// Solve a mathematical problem, step by step.
    Math,
    /// Write code.
    Coding,
}

impl Task {
    /// The field with the text.
    fn text_field(self) -> &'static str {
        match self {
            Self::Generate => "prompt",
            Self::Math | Self::Coding => "problem",
        }
    }

    /// What the document says of a body that sets nothing.
    fn defaults(self) -> GenerationOptions {
        let (n_tokens, temperature) = match self {
            Self::Generate | Self::Math => (512, 0.7),
            Self::Coding => (1024, 0.8),
        };
        let mut sampling = SamplingOptions::new();
        sampling.temperature = temperature;
        sampling.top_p = 0.9;
        sampling.top_k = 50;
        sampling.repetition_penalty = 1.1;
        GenerationOptions::new().max_new_tokens(n_tokens).sampling(sampling)
    }

    /// What the model is told to do with the problem; `None` for a prompt, which says it itself.
    pub fn instruction(self) -> Option<&'static str> {
        match self {
            Self::Generate => None,
            Self::Math => Some("Solve the problem step by step, and end with the answer."),
            Self::Coding => Some("Write the code in a fenced block."),
        }
    }
}

/// What a body asks for.
#[derive(Clone, Debug)]
pub struct Call {
    /// The model, if it names one.
    pub model: Option<String>,
    /// The prompt or problem.
    pub text: String,
    /// Variables of the template that a problem is put into.
    pub variables: Map<String, Value>,
    /// Options of the generation.
    pub options: GenerationOptions,
    /// Sequences to return.
    pub n: usize,
    /// Whether it asks for a stream; so may the headers.
    pub is_stream: bool,
    /// Its priority.
    pub priority: Priority,
}

/// Reads a body.
///
/// # Errors
/// The first field that is wrong.
pub fn read(task: Task, body: &Map<String, Value>) -> Result<Call, FieldError> {
    let mut call = Call {
        model: None,
        text: String::new(),
        variables: Map::new(),
        options: task.defaults(),
        n: 1,
        is_stream: false,
        priority: Priority::Normal,
    };
    let mut seen = SeenFields::default();
    let mut is_sampled = true;
    for (given, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        let name = snake_case(given);
        let set = seen.note(&name).and_then(|()| match name.as_str() {
            "do_sample" => options::flag(value).map(|it| is_sampled = it),
            name => set(&mut call, task, name, value),
        });
        set.map_err(|message| FieldError::new(given, message))?;
    }
    if !is_sampled {
        let sampling = &mut call.options.sampling;
        sampling.temperature = 0.0;
        sampling.mirostat = None;
        sampling.xtc.probability = 0.0;
        sampling.dynamic_temperature.range = 0.0;
    }
    if call.n == 0 {
        return Err(FieldError::new("num_return_sequences", "must be a whole number of 1 or more, not 0"));
    }
    if body.get(task.text_field()).is_none_or(Value::is_null) {
        return Err(FieldError::new(task.text_field(), "missing"));
    }
    Ok(call)
}

fn set(call: &mut Call, task: Task, name: &str, value: &Value) -> Result<(), String> {
    match name {
        _ if name == task.text_field() => options::text(value).map(|it| call.text = it),
        "model" => options::text(value).map(|it| call.model = Some(it)),
        "stream" => options::flag(value).map(|it| call.is_stream = it),
        "n" | "num_return_sequences" => options::count(value).map(|it| call.n = it),
        "priority" => priority(value).map(|it| call.priority = it),
        "chat_template_kwargs" | "enable_thinking" if task == Task::Generate => {
            Err("no template is put around a prompt; use /v1/chat/completions".to_owned())
        }
        "chat_template_kwargs" => fields::variables(value).map(|it| call.variables.extend(it)),
        "enable_thinking" => {
            options::flag(value).map(|it| _ = call.variables.insert(name.to_owned(), it.into()))
        }
        "return_log_probs" => options::flag(value).map(|it| call.options.logprobs = it.then_some(0)),
        _ => options::set(&mut call.options, options::canonical(name), value)
            .unwrap_or_else(|| Err("unknown field; correct its name, or leave it out".to_owned())),
    }
}

fn priority(value: &Value) -> Result<Priority, String> {
    match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("low") => Ok(Priority::Low),
        Some("normal") => Ok(Priority::Normal),
        Some("high") => Ok(Priority::High),
        Some("critical") => Ok(Priority::Critical),
        _ => Err("must be \"low\", \"normal\", \"high\" or \"critical\"".to_owned()),
    }
}

/// `maxTokens` as `max_tokens`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(task: Task, body: &Value) -> Result<Call, FieldError> {
        read(task, body.as_object().unwrap())
    }

    #[test]
    fn only_the_text_is_required_and_the_defaults_are_the_documents() {
        let call = of(Task::Generate, &json!({"prompt": "a"})).unwrap();
        let sampling = &call.options.sampling;
        assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.7, 0.9, 50));
        assert_eq!((sampling.repetition_penalty, call.options.limits.max_new_tokens, call.n), (1.1, 512, 1));
        let call = of(Task::Coding, &json!({"problem": "a", "temperature": null})).unwrap();
        assert_eq!((call.options.sampling.temperature, call.options.limits.max_new_tokens), (0.8, 1024));
        assert_eq!(of(Task::Math, &json!({})).unwrap_err().to_string(), "problem: missing");
        assert_eq!(of(Task::Math, &json!({"prompt": "a"})).unwrap_err().field, "prompt");
    }

    #[test]
    fn each_spelling_of_a_field_counts() {
        for name in ["maxTokens", "max_tokens", "max_new_tokens", "maxNewTokens", "n_predict"] {
            let call = of(Task::Generate, &json!({"prompt": "a", name: 7})).unwrap();
            assert_eq!(call.options.limits.max_new_tokens, 7, "{name}");
        }
        for name in ["topK", "top_k"] {
            assert_eq!(
                of(Task::Generate, &json!({"prompt": "a", name: 3})).unwrap().options.sampling.top_k,
                3
            );
        }
        let twice = of(Task::Generate, &json!({"prompt": "a", "maxTokens": 7, "max_tokens": 7}));
        assert!(twice.unwrap_err().message.contains("twice"));
    }

    #[test]
    fn a_problem_may_set_variables_of_the_template_and_a_prompt_has_none() {
        let variables = json!({"enable_thinking": false, "style": "short"});
        let body = json!({"problem": "a", "chat_template_kwargs": variables});
        assert_eq!(Value::Object(of(Task::Math, &body).unwrap().variables), variables);
        let body = json!({"problem": "a", "enableThinking": true});
        assert_eq!(of(Task::Coding, &body).unwrap().variables["enable_thinking"], true);
        let error = of(Task::Generate, &json!({"prompt": "a", "enable_thinking": true})).unwrap_err();
        assert!(error.message.contains("/v1/chat/completions"), "{error}");
    }

    #[test]
    fn without_sampling_it_is_greedy_whatever_else_is_said() {
        let body = json!({"prompt": "a", "do_sample": false, "temperature": 1.5, "mirostat": 2});
        let call = of(Task::Generate, &body).unwrap();
        call.options.validate().unwrap();
        assert_eq!(call.options.sampling.temperature, 0.0);
    }
}
