//! Prompts in JSON lines.

use serde::Deserialize;

use super::{DatasetArgs, Planned, content, malformed, repeated};
use crate::failure::Failure;

#[derive(Debug, Deserialize)]
struct Line {
    prompt: String,
    output_tokens: Option<usize>,
}

pub(super) fn read(args: &DatasetArgs) -> Result<Vec<Planned>, Failure> {
    let text = content(args)?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let one = |(line, number): (&str, usize)| {
        let line: Line =
            serde_json::from_str(line).map_err(|error| malformed(args, format!("line {number}: {error}")))?;
        let n_output = line.output_tokens.unwrap_or(args.custom_output_len);
        Ok(Planned { prompt: line.prompt, n_output, at: None })
    };
    let requests: Vec<Planned> = lines.take(args.num_prompts).map(one).collect::<Result<_, Failure>>()?;
    if requests.is_empty() {
        return Err(malformed(args, "there are no prompts in it"));
    }
    Ok(repeated(&requests, args.num_prompts))
}
