//! `sm inspect`: shows the contents of a model file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use sm_runtime::ModelRef;
use sm_runtime::model::{Contents, LoadOptions, Model, SamplingDefaults, TensorContents};

use crate::args::recommendations;
use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::hub;
use crate::shown::escaped;

/// Show what a model file contains
#[derive(Debug, clap::Args)]
#[command(
    alias = "show",
    after_help = "\
Examples:
  sm inspect model.gguf
  sm inspect ./Qwen3-0.6B --json
  sm inspect model.gguf --contents
  sm inspect model.gguf --plan"
)]
pub(crate) struct Args {
    /// Hugging Face directory, GGUF, safetensors or .smnd file, or `demo`
    #[arg(required_unless_present = "model_option")]
    model: Option<PathBuf>,
    #[arg(short = 'm', long = "model", value_name = "MODEL", hide = true, conflicts_with = "model")]
    model_option: Option<PathBuf>,
    /// Print all metadata and tensors, too
    #[arg(long, conflicts_with_all = ["plan", "json"])]
    contents: bool,
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
    /// What was changed or left out to load a quantized checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(flatten)]
    files: Files<'a>,
}

/// What `--json` prints of a model that is not supported.
#[derive(Debug, Serialize)]
struct UnsupportedReport<'a> {
    architecture: &'a str,
    /// Why it is not supported.
    unsupported: String,
    #[serde(flatten)]
    files: Files<'a>,
}

/// What `--json` prints of any model.
#[derive(Debug, Serialize)]
struct Files<'a> {
    /// Number of tensors by data type.
    dtypes: BTreeMap<&'a str, usize>,
    metadata: &'a serde_json::Map<String, serde_json::Value>,
    tensors: Vec<Tensor<'a>>,
}

/// A tensor in the file.
#[derive(Debug, Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: &'a str,
    /// How a quantized checkpoint stores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<&'a str>,
    /// Extents, slowest dimension first.
    shape: &'a [u64],
    /// Missing if the data type is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Prints the report.
///
/// # Errors
/// If the model cannot be read, or its plan is asked for and it is not supported.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let given = args.model.as_ref().or(args.model_option.as_ref());
    let given = given.map_or(Ok(ModelRef::Demo), |given| hub::model(given, console))?;
    let model = match given.open(&LoadOptions::default()) {
        Ok(model) => model,
        Err(error) => return show_unsupported(args, console, &given, error.into()),
    };
    if args.plan {
        return console.piece(&model.plan.to_string());
    }
    let contents = Contents::of_model(&model).map_err(sm_runtime::Error::from)?;
    let sampling = SamplingDefaults::of_model(&model).map_err(sm_runtime::Error::from)?;
    let report = Report::new(&model, &contents, recommendations(&sampling));
    if args.json {
        return console.json(&report);
    }
    console.piece(&report.text())?;
    if args.contents { console.piece(&text_of(&contents)) } else { Ok(()) }
}

/// Shows the files of a model that cannot be loaded, if they are readable; otherwise fails as loading did.
fn show_unsupported(
    args: &Args,
    console: &Console,
    model: &ModelRef,
    failure: Failure,
) -> Result<(), Failure> {
    let path = match model {
        ModelRef::Path(path) if !args.plan => path,
        _ => return Err(failure),
    };
    let Ok(contents) = Contents::read(path) else { return Err(failure) };
    if args.json {
        let unsupported = failure.chain();
        let architecture = architecture(&contents);
        return console.json(&UnsupportedReport { architecture, unsupported, files: Files::of(&contents) });
    }
    console.note(format_args!("this model is not supported: {}", failure.chain()));
    console.piece(&text_of(&contents))
}

/// The architecture that the files name.
fn architecture(contents: &Contents) -> &str {
    let field = |key: &str| contents.metadata.get(key);
    let first = field("architectures").and_then(|names| names.get(0));
    let named = first.or_else(|| field("general.architecture")).or_else(|| field("model_type"));
    named.and_then(|name| name.as_str()).unwrap_or("unknown")
}

/// All metadata and tensors, a line each.
fn text_of(contents: &Contents) -> String {
    let mut lines = vec!["metadata".to_owned()];
    lines.extend(contents.metadata.iter().map(|(key, value)| format!("  {key} = {value}")));
    lines.push("tensors".to_owned());
    lines.extend(contents.tensors.iter().map(|tensor| {
        let TensorContents { name, dtype, shape, bytes, .. } = tensor;
        let bytes = bytes.map_or(String::new(), |bytes| format!(", {}", Bytes(bytes)));
        format!("  {name}: {dtype} {shape:?}{bytes}")
    }));
    // Names and values come from the file, and control characters could command the terminal.
    let lines = lines.iter().map(|line| escaped(line, char::is_control) + "\n");
    lines.collect()
}

impl<'a> Files<'a> {
    fn of(contents: &'a Contents) -> Self {
        let mut dtypes = BTreeMap::new();
        for tensor in &contents.tensors {
            *dtypes.entry(tensor.dtype.as_str()).or_default() += 1;
        }
        let tensor = |tensor: &'a TensorContents| Tensor {
            name: &tensor.name,
            dtype: &tensor.dtype,
            stored: tensor.stored.as_deref(),
            shape: &tensor.shape,
            bytes: tensor.bytes,
        };
        let tensors = contents.tensors.iter().map(tensor).collect();
        Self { dtypes, metadata: &contents.metadata, tensors }
    }

    /// How a quantized checkpoint stores its matrices, and what they are read as; empty for other models.
    fn quantized(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for Tensor { dtype, stored, .. } in &self.tensors {
            if let Some(stored) = stored {
                *counts.entry(format!("{stored}, read as {dtype}")).or_default() += 1;
            }
        }
        let kinds: Vec<String> =
            counts.iter().map(|(what, count)| format!("{count} matrices: {what}")).collect();
        kinds.join("; ")
    }
}

impl<'a> Report<'a> {
    fn new(model: &Model, contents: &'a Contents, sampling: String) -> Self {
        let spec = &model.spec;
        let attention = spec.attentions().next();
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
            notes: model.weights.notes().iter().map(ToString::to_string).collect(),
            files: Files::of(contents),
        }
    }

    fn text(&self) -> String {
        let size: u64 = self.files.tensors.iter().filter_map(|tensor| tensor.bytes).sum();
        let dtypes: Vec<String> =
            self.files.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
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
            ("tensors", format!("{} ({}), {}", self.files.tensors.len(), dtypes.join(", "), Bytes(size))),
            ("quantized", self.files.quantized()),
            ("KV cache", format!("{} per token in f16", Bytes(2 * kv_values as u64))),
            ("sampling", self.sampling.clone()),
            ("notes", self.notes.join(&format!("\n{:<15} ", ""))),
        ];
        rows.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name:<15} {value}\n"))
            .collect()
    }
}
