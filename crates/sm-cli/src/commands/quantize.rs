//! `sm quantize`: converts a model to GGUF with quantized matrices.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use sm_runtime::model::{ExportOptions, Exported, ImportanceMatrix, LoadOptions, Mixture, export_gguf};

use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::hub;
use crate::progress::{Progress, Unit};
use crate::shown::shown;

/// Convert a model to GGUF with quantized matrices
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm quantize ./Qwen3-0.6B qwen3-q4_k_m.gguf --type q4_k_m
  sm quantize model-f16.gguf model-q3_k_s.gguf --type q3_k_s --imatrix imatrix.gguf

Types are those of llama-quantize: the output matrix and, in types ending in _s, _m or _l, other sensitive
matrices get more bits (q4_k is q4_k_m). Metadata and tokenizer are preserved. Vectors, routers and positions
stay f32; a matrix whose rows do not divide into blocks gets a type with smaller blocks. The file is read back
and verified before it is renamed.")]
pub(crate) struct Args {
    /// Hugging Face directory, GGUF file, or `demo`
    input: PathBuf,
    /// GGUF file to write
    #[arg(required_unless_present = "model")]
    output: Option<PathBuf>,
    #[arg(short, long, value_name = "INPUT", hide = true, conflicts_with = "output")]
    model: Option<PathBuf>,
    /// Data type of most matrices
    #[arg(long = "type", value_name = "TYPE", ignore_case = true, value_parser = mixture())]
    mixture: Mixture,
    /// Give every matrix that type
    #[arg(long)]
    pure: bool,
    /// Quantize for the inputs that matter: an importance matrix of this model, from llama-imatrix
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Overwrite the output file
    #[arg(long)]
    force: bool,
}

fn mixture() -> impl TypedValueParser<Value = Mixture> {
    PossibleValuesParser::new(Mixture::names()).try_map(|name| Mixture::named(&name))
}

/// Writes the file.
///
/// # Errors
/// If the model cannot be read or expressed in GGUF, or the output exists or cannot be written.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let (input, output) = args.paths();
    if output.exists() && !args.force {
        return Err(Failure::Exists { path: output.to_path_buf() });
    }
    let options = args.export_options()?;
    let model = hub::model(input, console)?.open(&LoadOptions::default())?;
    model.weights.notes().iter().for_each(|note| console.note(format_args!("{note}")));
    let bar = Progress::new(console, "writing", Unit::Bytes);
    let exported = export_gguf(&model, output, &options, &mut |done, total| bar.set(done, total))?;
    drop(bar);
    report(&exported, output, console);
    Ok(())
}

impl Args {
    fn export_options(&self) -> Result<ExportOptions, Failure> {
        let options = ExportOptions::new(if self.pure { self.mixture.pure() } else { self.mixture });
        match &self.imatrix {
            Some(path) => {
                Ok(options.importance(ImportanceMatrix::open(path).map_err(sm_runtime::Error::from)?))
            }
            None => Ok(options),
        }
    }

    /// The model and the file to write. With `-m MODEL`, the only other path is the file.
    fn paths(&self) -> (&Path, &Path) {
        match &self.output {
            Some(output) => (&self.input, output),
            None => (self.model.as_ref().unwrap_or(&self.input), &self.input),
        }
    }
}

fn report(exported: &Exported, output: &Path, console: &Console) {
    let &Exported { n_tensors, source_bytes, written_bytes, n_fallbacks, n_requantized, .. } = exported;
    console.note(format_args!(
        "{}: {n_tensors} tensors, {} converted to {}",
        shown(output),
        Bytes(source_bytes),
        Bytes(written_bytes)
    ));
    if n_fallbacks > 0 {
        console.note(format_args!(
            "{n_fallbacks} matrices have rows that do not divide into blocks and use a type with smaller blocks"
        ));
    }
    if exported.n_without_importance > 0 {
        console.note(format_args!(
            "{} matrices are not in the importance matrix and were quantized without it",
            exported.n_without_importance
        ));
    }
    if let Some(context_len) = exported.cut_context_len {
        console.note(format_args!(
            "the context is cut to {context_len} tokens: GGUF files of this architecture have no sliding windows"
        ));
    }
    if n_requantized > 0 {
        console.note(format_args!(
            "{n_requantized} tensors were already quantized; converting the original model is more accurate"
        ));
    }
}
