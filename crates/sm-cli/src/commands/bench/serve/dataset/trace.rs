//! Recorded arrivals: Mooncake's traces (<https://github.com/kvcache-ai/Mooncake>), which say which blocks of a prompt are alike.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::text::TextMaker;
use super::{DatasetArgs, Planned, content, malformed};
use crate::failure::Failure;

/// Tokens of a block.
const BLOCK_LEN: usize = 512;

/// One request; lengths in tokens.
#[derive(Debug, Deserialize)]
struct Line {
    /// In milliseconds.
    timestamp: u64,
    input_length: usize,
    output_length: usize,
    /// Equal ids, equal text. The last block may be short.
    #[serde(default)]
    hash_ids: Vec<u64>,
}

pub(super) fn read(args: &DatasetArgs, maker: &mut TextMaker) -> Result<Vec<Planned>, Failure> {
    let scaled = |len: usize| ((len as f64 * args.trace_scale) as usize).max(1);
    let mut blocks: HashMap<u64, String> = HashMap::new();
    let mut requests = Vec::new();
    let mut first = None;
    let text = content(args)?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    for (line, number) in lines.take(args.num_prompts) {
        let line: Line =
            serde_json::from_str(line).map_err(|error| malformed(args, format!("line {number}: {error}")))?;
        let mut prompt = String::new();
        let mut left = line.input_length;
        for id in &line.hash_ids {
            let len = left.min(BLOCK_LEN);
            left -= len;
            if len < BLOCK_LEN {
                prompt.push_str(&maker.text(scaled(len))?);
            } else if let Some(block) = blocks.get(id) {
                prompt.push_str(block);
            } else {
                let block = maker.text(scaled(BLOCK_LEN))?;
                prompt.push_str(&block);
                blocks.insert(*id, block);
            }
        }
        if left > 0 {
            prompt.push_str(&maker.text(scaled(left))?);
        }
        let at = line.timestamp.saturating_sub(*first.get_or_insert(line.timestamp));
        let at = Duration::from_millis(at).div_f64(args.trace_speed);
        requests.push(Planned { prompt, n_output: scaled(line.output_length), at: Some(at) });
    }
    if requests.is_empty() {
        return Err(malformed(args, "there are no requests in it"));
    }
    Ok(requests)
}
