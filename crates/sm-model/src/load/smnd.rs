//! Reads `.smnd` checkpoints, version 1: a GPT-2 in F32 with unnamed tensors in fixed order.
//!
//! ```text
//! "SMND", i32 version, i64 reserved, i32 metadata_len, JSON, i32 tensor_count,
//! per tensor: i32 rank, i32 dims[rank], i32 element_count, f32 data
//! ```

use serde::Deserialize;
use sm_tensor::DType;

use super::TensorInfo;
use super::cursor::Cursor;
use super::file::FileBytes;
use crate::LoadError;
use crate::config::unsupported;

const FORMAT: &str = "smnd";
const MODEL_TYPE: &str = "TransformerModel";
const MAX_METADATA_BYTES: i32 = 1 << 20;
const MAX_TENSORS: i32 = 10_000;
const MAX_RANK: i32 = 8;
const MAX_LAYERS: usize = 512;
const TENSORS_PER_LAYER: usize = 12;
/// Token and position embedding, final norm's weight and bias, language model head.
const TENSORS_OUTSIDE: usize = 5;

/// The configuration of a checkpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SmndConfig {
    model_type: String,
    pub(crate) vocab_size: usize,
    /// Longest context.
    pub(crate) block_size: usize,
    pub(crate) embed_dim: usize,
    pub(crate) num_heads: usize,
    pub(crate) num_layers: usize,
    pub(crate) ffn_hidden_dim: usize,
    /// Additional fields from the training program.
    #[serde(default)]
    pub(crate) extra: serde_json::Map<String, serde_json::Value>,
}

/// Reads the configuration and tensors of a file. Tensors get the names of a GGUF file of GPT-2.
pub(crate) fn read(file: &FileBytes) -> Result<(SmndConfig, Vec<TensorInfo>), LoadError> {
    let mut cursor = Cursor::in_file(FORMAT, file);
    let magic: [u8; 4] = cursor.array("magic")?;
    if magic != *b"SMND" {
        return Err(LoadError::Magic { format: FORMAT, found: magic.to_vec() });
    }
    let found = cursor.u32("version")?;
    if found != 1 {
        return Err(LoadError::Version { format: FORMAT, found, supported: "1" });
    }
    cursor.array::<8>("reserved")?;
    let metadata_len = cursor.i32("metadata length")?;
    let metadata_len = in_range(metadata_len, 0, MAX_METADATA_BYTES, "the metadata length", "0 to 1048576")?;
    let json = cursor.text(metadata_len as u64, "metadata")?;
    let config: SmndConfig = serde_json::from_str(json).map_err(|source| LoadError::Json { source })?;
    let expected = expected_tensors(&config)?;
    let tensor_count = cursor.i32("tensor count")?;
    let tensor_count = in_range(tensor_count, 1, MAX_TENSORS, "the tensor count", "1 to 10000")?;
    if tensor_count as usize != expected.len() {
        let reason = format!("a model of {} layers has {} tensors", config.num_layers, expected.len());
        return Err(unsupported("tensor_count", tensor_count, reason));
    }
    let tensors = expected.into_iter().map(|(name, shape)| read_tensor(&mut cursor, name, shape));
    Ok((config, tensors.collect::<Result<_, _>>()?))
}

fn in_range(found: i32, min: i32, max: i32, what: &str, expected: &'static str) -> Result<i32, LoadError> {
    if (min..=max).contains(&found) {
        return Ok(found);
    }
    Err(LoadError::OutOfRange { format: FORMAT, what: what.into(), found: found.into(), expected })
}

/// Names and shapes of the tensors, in file order.
fn expected_tensors(config: &SmndConfig) -> Result<Vec<(String, Vec<usize>)>, LoadError> {
    if config.model_type != MODEL_TYPE {
        let found = format!("{:?}", config.model_type);
        return Err(unsupported("ModelType", found, format!("supported: {MODEL_TYPE:?}")));
    }
    if config.num_layers > MAX_LAYERS {
        return Err(unsupported("NumLayers", config.num_layers, format!("it must be at most {MAX_LAYERS}")));
    }
    let hidden = config.embed_dim;
    let ffn = config.ffn_hidden_dim;
    let mut list = Vec::with_capacity(config.num_layers * TENSORS_PER_LAYER + TENSORS_OUTSIDE);
    list.push(("token_embd.weight".to_owned(), vec![config.vocab_size, hidden]));
    list.push(("position_embd.weight".to_owned(), vec![config.block_size, hidden]));
    for layer in 0..config.num_layers {
        let parts: [(&str, usize, Option<usize>); 6] = [
            ("attn_norm", hidden, None),
            ("attn_qkv", hidden.saturating_mul(3), Some(hidden)),
            ("attn_output", hidden, Some(hidden)),
            ("ffn_norm", hidden, None),
            ("ffn_up", ffn, Some(hidden)),
            ("ffn_down", hidden, Some(ffn)),
        ];
        for (name, rows, cols) in parts {
            let shape = std::iter::once(rows).chain(cols).collect();
            list.push((format!("blk.{layer}.{name}.weight"), shape));
            list.push((format!("blk.{layer}.{name}.bias"), vec![rows]));
        }
    }
    list.push(("output_norm.weight".to_owned(), vec![hidden]));
    list.push(("output_norm.bias".to_owned(), vec![hidden]));
    list.push(("output.weight".to_owned(), vec![config.vocab_size, hidden]));
    Ok(list)
}

fn read_tensor(cursor: &mut Cursor<'_>, name: String, expected: Vec<usize>) -> Result<TensorInfo, LoadError> {
    let rank = in_range(cursor.i32(&name)?, 1, MAX_RANK, &format!("the rank of {name:?}"), "1 to 8")?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        let extent = cursor.i32(&name)?;
        let what = format!("an extent of {name:?}");
        shape.push(in_range(extent, 1, i32::MAX, &what, "a positive number")? as usize);
    }
    if shape != expected {
        return Err(LoadError::Shape { tensor: name, found: shape, expected });
    }
    let n_values: u128 = shape.iter().map(|&extent| extent as u128).product();
    let element_count = cursor.i32(&name)?;
    if i128::try_from(n_values) != Ok(element_count.into()) {
        let what = format!("the element count of {name:?}");
        let found = element_count.into();
        return Err(LoadError::OutOfRange {
            format: FORMAT,
            what,
            found,
            expected: "the product of its extents",
        });
    }
    let bytes = cursor.skip(element_count as u64 * 4, &name)?;
    Ok(TensorInfo { name, shape, dtype: DType::F32, bytes })
}

#[cfg(test)]
mod tests;
