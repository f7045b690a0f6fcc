//! The fields of text completions.

use serde_json::Value;
use sm_runtime::Prompt;

use super::Reader;
use crate::wire::fields;
use crate::wire::{FieldError, options};

impl Reader {
    pub(super) fn set_of_completion(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match name {
            "prompt" => fields::prompts(value).map(|it| self.prompts = it),
            "best_of" => options::count(value).map(|it| self.best_of = Some(it)),
            "suffix" if value == "" => Ok(()),
            "suffix" => Err("completing the middle of a text is not supported; leave it out".to_owned()),
            "add_special_tokens" if value == true => Ok(()),
            "add_special_tokens" => Err("a prompt of token ids has none added".to_owned()),
            "messages" => Err("this endpoint takes a prompt; /v1/chat/completions takes messages".to_owned()),
            _ => return None,
        })
    }

    /// The first prompt; the others stay.
    pub(super) fn finish_prompt(&mut self) -> Result<Prompt, FieldError> {
        if self.prompts.is_empty() {
            return Err(FieldError::new("prompt", "missing"));
        }
        let prompt = self.prompts.remove(0);
        if !self.prompts.is_empty() {
            let message = "possible with one prompt only; send a request for each";
            if self.extras.has_running_usage {
                return Err(FieldError::new("stream_options.continuous_usage_stats", message));
            }
            if self.extras.reports_progress && self.is_stream {
                return Err(FieldError::new("return_progress", message));
            }
        }
        let limits = &mut self.options.limits;
        let scores_prompt = self.options.prompt_logprobs.is_some() || self.options.echo;
        if limits.max_new_tokens == 0 && scores_prompt {
            // A step computes at least one token.
            limits.max_new_tokens = 1;
            self.extras.drops_output = true;
        }
        self.extras.echoes = self.options.echo;
        if self.extras.echoes && self.options.logprobs.is_some() && self.is_stream {
            let message = "not in a stream together with logprobs, since those of the prompt come at the end";
            return Err(FieldError::new("echo", message));
        }
        Ok(prompt)
    }
}
