//! Options of requests to a server that set none.

use serde_json::Map;
use sm_server::RequestDefaults;

use super::chat::{template_variables, thinking};
use super::{ServedTemplate, template};
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
    /// Variables of the chat template for requests that do not set them, as a JSON object
    #[arg(long, visible_alias = "default-chat-template-kwargs", value_name = "JSON")]
    chat_template_kwargs: Option<String>,
    /// Whether models think that can switch it: `on` or `auto` sets the template's variable enable_thinking, `off` clears it
    /// [default: as the template has it]
    #[arg(long, value_name = "WHEN", value_enum)]
    reasoning: Option<Reasoning>,
    /// Tell chat templates today's date instead of that of their release, where they ask for `date_string` or `datetime`
    #[arg(long)]
    template_date: bool,
}

/// Whether models think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Reasoning {
    On,
    Off,
    Auto,
}

impl RequestDefaultsArgs {
    /// The template of all models, and what it is told.
    ///
    /// # Errors
    /// If the template is neither a file nor a name, or its variables are no JSON object.
    pub(crate) fn template(&self) -> Result<ServedTemplate, Failure> {
        let mut variables = Map::new();
        if let Some(reasoning) = self.reasoning {
            variables.extend(thinking(reasoning != Reasoning::Off));
        }
        if let Some(given) = &self.chat_template_kwargs {
            variables.extend(template_variables(given)?);
        }
        let source = self.chat_template.as_deref().map(template::source).transpose()?;
        Ok(ServedTemplate { source, variables, tells_date: self.template_date })
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
