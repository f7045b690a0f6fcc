//! A model for tests that says what a script tells it, behind the feature `scripted`.
//!
//! Whether a model chooses to call a tool cannot be tested with one of a few million parameters, yet all around it can: a scripted model has the
//! demo model's tokenizer, its prompts come from a template, and its tokens go through scheduler, cache, grammars and sampling
//! like any others. A script is a JSON file:
//!
//! ```json
//! {"context": 65536, "rules": [
//!   {"prompt": "*<tool_response>*", "answer": "It is 7 degrees."},
//!   {"prompt": "*weather*", "answer": "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Graz\"}}\n</tool_call>"}
//! ], "otherwise": "I cannot say."}
//! ```
//!
//! The first rule applies whose pattern matches the whole prompt, in which `*` stands for any text. `template` replaces the chat
//! template, and `mark` the text that prompts end with: what comes after its last occurrence is the answer so far.

mod backend;
mod executor;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sm_kernels::plan::{Backend, Plan};
use sm_model::tokenizer::{EncodeOptions, SpecialTokens, Tokenizer};
use sm_tensor::TokenId;

use crate::Error;

/// A template with tools for the special tokens of the demo model.
const TEMPLATE: &str = include_str!("scripted/template.jinja");
const MARK: &str = "<|assistant|>\n";
/// Tokens of prompt and answer together, enough for the prompts of agents.
const CONTEXT: u64 = 1 << 17;

/// What a scripted model says.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    context_len: usize,
    template: String,
    /// What prompts end with.
    mark: String,
    /// Patterns of prompts and answers to them.
    rules: Vec<(String, String)>,
    otherwise: String,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// If the file cannot be read or is no script.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let malformed =
            |reason: String| Error::validation("model", format!("the script {}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| malformed(error.to_string()))?;
        let json: Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        Self::of_json(&json).map_err(malformed)
    }

    fn of_json(json: &Value) -> Result<Self, String> {
        let text = |value: &Value, name: &str, usual: &str| match &value[name] {
            Value::Null => Ok(usual.to_owned()),
            Value::String(text) => Ok(text.clone()),
            other => Err(format!("{name} must be a text, not {other}")),
        };
        let rules = json["rules"].as_array().ok_or("rules must be a list")?;
        let rule = |rule: &Value| match (rule["prompt"].as_str(), rule["answer"].as_str()) {
            (Some(prompt), Some(answer)) => Ok((prompt.to_owned(), answer.to_owned())),
            _ => Err(format!("a rule has the texts prompt and answer, unlike {rule}")),
        };
        Ok(Self {
            context_len: json
                .get("context")
                .map_or(Some(CONTEXT), Value::as_u64)
                .ok_or("context must be a number")? as usize,
            template: text(json, "template", TEMPLATE)?,
            mark: text(json, "mark", MARK)?,
            rules: rules.iter().map(rule).collect::<Result<_, _>>()?,
            otherwise: text(json, "otherwise", "")?,
        })
    }

    /// The answer to a prompt.
    fn answer(&self, prompt: &str) -> &str {
        let rule = self.rules.iter().find(|(pattern, _)| matches(pattern, prompt));
        rule.map_or(&self.otherwise, |(_, answer)| answer)
    }

    /// Gives a model the script's context, or one of `context_len`, and pages that hold next to nothing.
    ///
    /// # Errors
    /// If the script has a shorter one.
    pub(crate) fn fit(&self, plan: &mut Plan, context_len: Option<usize>) -> Result<(), Error> {
        let max = self.context_len;
        plan.context_len = match context_len {
            None | Some(usize::MAX) => max,
            Some(requested) if requested <= max => requested,
            Some(requested) => return Err(sm_model::LoadError::ContextLen { requested, max }.into()),
        };
        for group in &mut plan.cache.pages {
            (group.n_layers, group.n_kv_heads, group.key_dim, group.value_dim) = (1, 1, 1, 1);
        }
        Ok(())
    }

    /// The chat template.
    pub(crate) fn template(&self) -> &str {
        &self.template
    }

    /// What runs it.
    pub(crate) fn backend(self, tokenizer: Arc<dyn Tokenizer>) -> Box<dyn Backend> {
        Box::new(backend::ScriptedBackend::new(Arc::new(self), tokenizer))
    }
}

/// Whether a pattern matches a text, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The next token of an answer.
fn next_token(script: &Script, tokenizer: &dyn Tokenizer, history: &[TokenId]) -> Option<TokenId> {
    let encode = |text: &str| tokenizer.encode(text, EncodeOptions::RENDERED_CHAT).ok();
    let mark = encode(&script.mark).filter(|mark| !mark.is_empty())?;
    let at = history.windows(mark.len()).rposition(|window| window == mark)?;
    let (prompt, so_far) = history.split_at(at + mark.len());
    let answer = script.answer(&tokenizer.decode(prompt, SpecialTokens::Keep)).to_owned();
    // A token has at least one byte: this is longer than the answer, and to decode it in every step would be quadratic.
    if answer.len() < so_far.len() {
        return None;
    }
    let tokens = encode(&answer)?;
    if tokens.starts_with(so_far) {
        return tokens.get(so_far.len()).copied();
    }
    // A grammar may have chosen other tokens for the same text.
    let rest = answer.strip_prefix(&tokenizer.decode(so_far, SpecialTokens::Keep))?.to_owned();
    encode(&rest)?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*b*", "abc", true),
            ("b*", "abc", false),
            ("a*c", "abc", true),
            ("abc", "abc", true),
            ("ab", "abc", false),
            ("*a*b*", "ba", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_script_is_followed_token_by_token_through_engine_and_template() {
        use crate::{ChatRequest, Engine, GenerationOptions, ModelRef};

        let scratch = crate::testing::Scratch::new();
        let path = scratch.path().join("script.json");
        let script = r#"{"rules": [{"prompt": "*<|tool|>*", "answer": "Thanks."}, {"prompt": "*weather*", "answer": "<tool_call>é😀"}], "otherwise": "?"}"#;
        std::fs::write(&path, script).unwrap();
        let engine = Engine::builder().load(ModelRef::named(format!("scripted:{}", path.display()))).unwrap();
        let answer =
            |chat: ChatRequest| engine.generate(chat.into(), &GenerationOptions::new().seed(1)).unwrap().text;
        assert_eq!(answer(ChatRequest::new().user("weather?")), "<tool_call>é😀");
        assert_eq!(
            answer(ChatRequest::new().user("weather?").message(crate::Message::new("tool", "7"))),
            "Thanks."
        );
        assert_eq!(answer(ChatRequest::new().user("<|assistant|>\n")), "?");
    }

    #[test]
    fn a_context_is_the_one_asked_for_up_to_the_scripts() {
        let scratch = crate::testing::Scratch::new();
        let path = scratch.path().join("script.json");
        std::fs::write(&path, r#"{"context": 2000, "rules": []}"#).unwrap();
        let model = crate::ModelRef::Scripted(path);
        let open = |context_len| model.open(&sm_model::LoadOptions { context_len, quant: None });
        for (asked, expected) in [(None, 2000), (Some(1024), 1024), (Some(usize::MAX), 2000)] {
            assert_eq!(open(asked).unwrap().plan.context_len, expected);
        }
        assert!(open(Some(2001)).unwrap_err().to_string().contains("2000"));
    }
}
