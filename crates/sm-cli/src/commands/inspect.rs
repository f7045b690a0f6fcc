//! `sm inspect`: shows the contents of a model file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use sm_runtime::ModelRef;
use sm_runtime::model::{LoadOptions, Model, SamplingDefaults};

use crate::args::recommendations;
use crate::console::{Bytes, Console};
use crate::failure::Failure;

/// Show what a model file contains
#[derive(Debug, clap::Args)]
#[command(
    alias = "show",
    after_help = "\
Examples:
  sm inspect model.gguf
  sm inspect ./Qwen3-0.6B --json
  sm inspect model.gguf --plan"
)]
pub(crate) struct Args {
    /// Hugging Face directory, GGUF, safetensors or .smnd file, or `demo`
    #[arg(required_unless_present = "model_option")]
    model: Option<PathBuf>,
    #[arg(short = 'm', long = "model", value_name = "MODEL", hide = true, conflicts_with = "model")]
    model_option: Option<PathBuf>,
    /// Print the operations of one step instead
    #[arg(long, conflicts_with = "json")]
    plan: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    architecture: &'static str,
    parameters: u64,
    context_length: usize,
    layers: usize,
    hidden_size: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab_size: usize,
    /// What the model recommends.
    #[serde(skip_serializing_if = "String::is_empty")]
    sampling: String,
    /// Number of tensors by data type.
    dtypes: BTreeMap<&'static str, usize>,
    tensors: Vec<Tensor<'a>>,
}

/// A tensor in the file.
#[derive(Debug, Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: &'static str,
    /// Extents, slowest dimension first.
    shape: &'a [usize],
    bytes: usize,
}

/// Prints the report.
///
/// # Errors
/// If the model cannot be read or is not supported.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let given = args.model.as_ref().or(args.model_option.as_ref());
    let model = given.map_or(ModelRef::Demo, ModelRef::named).open(&LoadOptions::default())?;
    if args.plan {
        return console.piece(&model.plan.to_string());
    }
    let sampling = SamplingDefaults::of_model(&model).map_err(sm_runtime::Error::from)?;
    let report = Report::new(&model, recommendations(&sampling));
    if args.json { console.json(&report) } else { console.piece(&report.text()) }
}

impl<'a> Report<'a> {
    fn new(model: &'a Model, sampling: String) -> Self {
        let spec = &model.spec;
        let attention = spec.attentions().next();
        let tensors = model.weights.tensors().iter().map(|tensor| Tensor {
            name: &tensor.name,
            dtype: tensor.dtype.name(),
            shape: &tensor.shape,
            bytes: tensor.bytes.len(),
        });
        Self {
            architecture: model.architecture(),
            parameters: model.n_parameters(),
            context_length: spec.max_context_len,
            layers: spec.layers.len(),
            hidden_size: spec.hidden_size,
            heads: attention.map_or(0, |attention| attention.n_heads),
            kv_heads: attention.map_or(0, |attention| attention.n_kv_heads),
            head_dim: attention.map_or(0, |attention| attention.head_dim),
            vocab_size: spec.vocab_size,
            sampling,
            dtypes: model.dtypes().into_iter().map(|(dtype, count)| (dtype.name(), count)).collect(),
            tensors: tensors.collect(),
        }
    }

    fn text(&self) -> String {
        let size: usize = self.tensors.iter().map(|tensor| tensor.bytes).sum();
        let dtypes: Vec<String> =
            self.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
        let kv_values = 2 * self.layers * self.kv_heads * self.head_dim;
        let rows = [
            ("architecture", self.architecture.to_owned()),
            ("parameters", self.parameters.to_string()),
            ("context length", self.context_length.to_string()),
            ("layers", self.layers.to_string()),
            ("hidden size", self.hidden_size.to_string()),
            (
                "heads",
                format!(
                    "{} query heads, {} key and value heads, {} values each",
                    self.heads, self.kv_heads, self.head_dim
                ),
            ),
            ("vocabulary", self.vocab_size.to_string()),
            ("tensors", format!("{} ({}), {}", self.tensors.len(), dtypes.join(", "), Bytes(size as u64))),
            ("KV cache", format!("{} per token in f16", Bytes(2 * kv_values as u64))),
            ("sampling", self.sampling.clone()),
        ];
        rows.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name:<15} {value}\n"))
            .collect()
    }
}
