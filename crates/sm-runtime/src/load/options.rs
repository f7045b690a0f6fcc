//! Load options.

use std::path::PathBuf;

use serde_json::{Map, Value};
use sm_tensor::{DType, setters, some_setters};

use super::TokenizerSource;
use crate::{Device, Error};

/// How a model is loaded: everything that affects the weights, but not the executors on them.
///
/// ```
/// use sm_runtime::{DType, Device, LoadOptions};
///
/// let options = LoadOptions::new().device(Device::cpu_threads(2)).context_len(2048).quant(DType::Q8_0);
/// assert_eq!(options.context_len, Some(2048));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The device that runs the model. The machine's fastest by default.
    pub device: Device,
    /// Context length, prompt and output together; [`LoadOptions::MODEL_CONTEXT`] is the model's own limit. By default that limit,
    /// but at most 4096.
    pub context_len: Option<usize>,
    /// Quantizes matrices stored in a wider type. By default they keep their type.
    pub quant: Option<DType>,
    /// The tokenizer. The model's own by default.
    pub tokenizer: TokenizerSource,
    /// Directory for packed weights. The next load maps them, which takes about as long as reading them once and shares the
    /// memory between processes. One file per model, as large as its weights, that only the user may read. A file that is
    /// written to or cut while it is in use ends the engines on it with an error. Disabled by default.
    pub packed_dir: Option<PathBuf>,
    /// Whether to fingerprint the weights, as the KV cache's disk tier requires ([`KvDiskConfig`](crate::KvDiskConfig)).
    /// Reads all weights once. Off by default.
    pub fingerprint: bool,
    /// The chat template, as Jinja source. The model's own by default.
    pub chat_template: Option<String>,
    /// Variables of the chat template, such as `enable_thinking`, for requests that do not set them. None by default.
    pub template_variables: Map<String, Value>,
    /// Whether the chat template is told the date ([`ChatTemplate::with_date`](sm_model::chat::ChatTemplate::with_date)). Off by default.
    pub template_date: bool,
}

impl LoadOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(device: Device, fingerprint: bool, template_variables: Map<String, Value>, template_date: bool);
    some_setters!(context_len: usize, quant: DType, chat_template: String);

    /// A [`LoadOptions::context_len`](field@Self::context_len) that stands for the model's own limit, however large.
    pub const MODEL_CONTEXT: usize = usize::MAX;

    /// Sets [`LoadOptions::tokenizer`](field@Self::tokenizer).
    #[must_use]
    pub fn tokenizer(self, tokenizer: impl Into<TokenizerSource>) -> Self {
        Self { tokenizer: tokenizer.into(), ..self }
    }

    /// Sets [`LoadOptions::packed_dir`](field@Self::packed_dir).
    #[must_use]
    pub fn packed_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { packed_dir: Some(dir.into()), ..self }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        match self.context_len {
            Some(0) => Err(Error::validation("context_len", "0 is not allowed; use at least 1")),
            _ => Ok(()),
        }
    }

    /// The options that affect the plan and the weights.
    pub(super) fn of_model(&self) -> sm_model::LoadOptions {
        sm_model::LoadOptions { context_len: self.context_len, quant: self.quant }
    }
}
