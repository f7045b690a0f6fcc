//! `sm quantize`: writes a model as a GGUF file, its matrices in another data type.

use std::path::{Path, PathBuf};

use sm_runtime::model::{Exported, LoadOptions, export_gguf};
use sm_runtime::{DType, ModelRef};

use crate::args::dtype;
use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::progress::{Progress, Unit};

/// Write a model as a GGUF file with quantized matrices
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm quantize ./Qwen3-0.6B qwen3-q4_k.gguf --type q4_k
  sm quantize model-f16.gguf model-q8_0.gguf --type q8_0

Metadata and tokenizer are kept. Vectors, routers and positions stay f32; a matrix whose rows are
no whole blocks falls back to a type with smaller blocks. The file is read back before it appears.")]
pub(crate) struct Args {
    /// A Hugging Face directory or a GGUF file, or `demo`
    input: PathBuf,
    /// The GGUF file to write
    output: PathBuf,
    /// The data type of the matrices
    #[arg(long = "type", value_name = "TYPE", value_parser = dtype())]
    dtype: DType,
    /// Replace the output if it exists
    #[arg(long)]
    force: bool,
}

/// Writes the file.
///
/// # Errors
/// If the model cannot be read or has no form as a GGUF file, or the output exists or cannot be written.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    if args.output.exists() && !args.force {
        return Err(Failure::Exists { path: args.output.clone() });
    }
    let model = ModelRef::named(&args.input).open(&LoadOptions::default())?;
    let bar = Progress::new(console, "writing", Unit::Bytes);
    let exported = export_gguf(&model, &args.output, args.dtype, &mut |done, total| bar.set(done, total))?;
    drop(bar);
    tell(&exported, &args.output, console);
    Ok(())
}

fn tell(exported: &Exported, output: &Path, console: &Console) {
    let Exported { n_tensors, source_bytes, written_bytes, n_fallbacks, n_requantized } = *exported;
    let (from, to) = (Bytes(source_bytes), Bytes(written_bytes));
    console.note(format_args!("{}: {n_tensors} tensors, {from} became {to}", output.display()));
    if n_fallbacks > 0 {
        console.note(format_args!(
            "{n_fallbacks} matrices have rows that are no whole blocks; their type has smaller ones"
        ));
    }
    if n_requantized > 0 {
        console.note(format_args!(
            "{n_requantized} tensors were quantized before; a file from the original is more accurate"
        ));
    }
}
