//! Options of requests to a server that set none.

use sm_server::RequestDefaults;

use super::template;
use crate::failure::Failure;

/// What requests get that do not say.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Defaults")]
pub(crate) struct RequestDefaultsArgs {
    /// Temperature of requests that set none [default: the model's]
    #[arg(long, alias = "temperature", value_name = "T", value_parser = temperature)]
    temp: Option<f32>,
    /// Seed of requests that set none [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Tokens at most of requests that do not say [default: what the context leaves, 16 of /v1/completions]
    #[arg(long, visible_alias = "n-predict", value_name = "N")]
    max_tokens: Option<std::num::NonZeroUsize>,
    /// Chat template instead of the models' own: a file, or alpaca, chatml, gemma, llama2, llama3, phi3, vicuna or zephyr
    #[arg(long, alias = "chat-template-file", value_name = "FILE|NAME")]
    chat_template: Option<String>,
}

impl RequestDefaultsArgs {
    /// The template that replaces the models' own.
    ///
    /// # Errors
    /// If it is neither a file nor a name.
    pub(crate) fn template(&self) -> Result<Option<String>, Failure> {
        self.chat_template.as_deref().map(template::source).transpose()
    }

    /// As the server has them.
    pub(crate) fn options(&self) -> RequestDefaults {
        let mut defaults = RequestDefaults::default();
        defaults.temperature = self.temp;
        defaults.seed = self.seed;
        defaults.max_tokens = self.max_tokens.map(std::num::NonZeroUsize::get);
        defaults
    }
}

fn temperature(given: &str) -> Result<f32, String> {
    let number = given.parse::<f32>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "must be a number of 0 or more".to_owned())
}
