//! `sm quantize`: converts a model to GGUF with quantized matrices.

use std::path::{Path, PathBuf};

use sm_runtime::model::{Exported, LoadOptions, export_gguf};
use sm_runtime::{DType, ModelRef};

use crate::args::dtype;
use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::progress::{Progress, Unit};
use crate::shown::shown;

/// Convert a model to GGUF with quantized matrices
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm quantize ./Qwen3-0.6B qwen3-q4_k.gguf --type q4_k
  sm quantize model-f16.gguf model-q8_0.gguf --type q8_0

Metadata and tokenizer are preserved. Vectors, routers and positions stay f32; a matrix whose rows do not
divide into blocks gets a type with smaller blocks. The file is read back and verified before it is renamed.")]
pub(crate) struct Args {
    /// Hugging Face directory, GGUF file, or `demo`
    input: PathBuf,
    /// GGUF file to write
    #[arg(required_unless_present = "model")]
    output: Option<PathBuf>,
    #[arg(short, long, value_name = "INPUT", hide = true, conflicts_with = "output")]
    model: Option<PathBuf>,
    /// Data type of the matrices
    #[arg(long = "type", value_name = "TYPE", value_parser = dtype())]
    dtype: DType,
    /// Overwrite the output file
    #[arg(long)]
    force: bool,
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
    let model = ModelRef::named(input).open(&LoadOptions::default())?;
    let bar = Progress::new(console, "writing", Unit::Bytes);
    let exported = export_gguf(&model, output, args.dtype, &mut |done, total| bar.set(done, total))?;
    drop(bar);
    report(&exported, output, console);
    Ok(())
}

impl Args {
    /// The model and the file to write. With `-m MODEL`, the only other path is the file.
    fn paths(&self) -> (&Path, &Path) {
        match &self.output {
            Some(output) => (&self.input, output),
            None => (self.model.as_ref().unwrap_or(&self.input), &self.input),
        }
    }
}

fn report(exported: &Exported, output: &Path, console: &Console) {
    let Exported { n_tensors, source_bytes, written_bytes, n_fallbacks, n_requantized, cut_context_len } =
        *exported;
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
    if let Some(context_len) = cut_context_len {
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
