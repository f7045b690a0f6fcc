//! Reads traces: Mooncake's (JSON lines) and Azure's of 2023 (CSV).

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// Tokens per block in Mooncake's traces.
pub const BLOCK_LEN: usize = 512;

/// A recorded request; lengths in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its arrival, relative to the first request.
    pub at: Duration,
    /// Length of the prompt.
    pub n_input: usize,
    /// Length of the output.
    pub n_output: usize,
    /// Hashes of the prompt's blocks of [`BLOCK_LEN`] tokens, the last possibly partial; a hash covers the block and all
    /// before it. `None` if the trace has none.
    pub blocks: Option<Vec<u64>>,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line is malformed.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A line of Mooncake's traces.
#[derive(Debug, Deserialize)]
struct MooncakeLine {
    /// In milliseconds.
    timestamp: u64,
    input_length: usize,
    output_length: usize,
    hash_ids: Vec<u64>,
}

/// The columns of Azure's trace.
const AZURE_HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// Reads a trace of either kind.
///
/// # Errors
/// If the file cannot be read or a line is malformed.
pub fn read(path: &Path) -> Result<Vec<Recorded>, TraceError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TraceError::Read { path: path.display().to_string(), source })?;
    parse(&text)
}

/// The requests of a trace of either kind, in order of arrival.
///
/// # Errors
/// If a line is malformed.
pub fn parse(text: &str) -> Result<Vec<Recorded>, TraceError> {
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).peekable();
    let is_azure = lines.next_if(|(line, _)| line.trim() == AZURE_HEADER).is_some();
    let parse_line = if is_azure { azure } else { mooncake };
    let parsed =
        lines.map(|(text, line)| parse_line(text.trim()).map_err(|reason| TraceError::Line { line, reason }));
    let mut requests: Vec<Recorded> = parsed.collect::<Result<_, _>>()?;
    let first = requests.iter().map(|request| request.at).min().unwrap_or_default();
    requests.iter_mut().for_each(|request| request.at -= first);
    requests.sort_by_key(|request| request.at);
    Ok(requests)
}

fn mooncake(line: &str) -> Result<Recorded, String> {
    let MooncakeLine { timestamp, input_length, output_length, hash_ids } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    let expected = input_length.div_ceil(BLOCK_LEN);
    if hash_ids.len() != expected {
        return Err(format!("{} hash_ids for {input_length} tokens, not {expected}", hash_ids.len()));
    }
    let at = Duration::from_millis(timestamp);
    Ok(Recorded { at, n_input: input_length, n_output: output_length, blocks: Some(hash_ids) })
}

fn azure(line: &str) -> Result<Recorded, String> {
    let fields: Vec<&str> = line.split(',').collect();
    let [at, n_input, n_output] = fields[..] else {
        return Err(format!("{} fields, not 3", fields.len()));
    };
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a token count"));
    let at = time(at).ok_or_else(|| format!("{at:?} is not a time like 2023-11-16 18:15:46.6805900"))?;
    Ok(Recorded { at, n_input: number(n_input)?, n_output: number(n_output)?, blocks: None })
}

/// The time from the start of the year 0 to a date and a time of day.
fn time(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once(' ')?;
    let [year, month, day] = numbers(date, '-')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(whole, ':')?;
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = (days(year, month, day)? * 24 + hour) * 3600 + minute * 60 + second;
    Some(Duration::new(seconds, nanos))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text.split(separator).map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// Days since 1 March of year 0 in the Gregorian calendar. With years starting in March, the leap day is the last day.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mooncake_lines_have_names_of_blocks() {
        let text = r#"{"timestamp": 3000, "input_length": 513, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 1000, "input_length": 512, "output_length": 7, "hash_ids": [0]}
"#;
        let requests = parse(text).unwrap();
        let first = Recorded { at: Duration::ZERO, n_input: 512, n_output: 7, blocks: Some(vec![0]) };
        assert_eq!(requests[0], first);
        assert_eq!((requests[1].at, requests[1].n_input), (Duration::from_secs(2), 513));
    }

    #[test]
    fn azure_times_count_across_days() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-28 23:59:59.5000000,374,44\n\
                    2023-03-01 00:00:00.7500000,10,1\n2024-03-01 00:00:00,10,1\n";
        let requests = parse(text).unwrap();
        assert_eq!(requests[0], Recorded { at: Duration::ZERO, n_input: 374, n_output: 44, blocks: None });
        assert_eq!(requests[1].at, Duration::from_millis(1250));
        assert_eq!(requests[2].at, Duration::from_millis(366 * 86_400_000 + 500));
    }

    #[test]
    fn a_malformed_line_is_named() {
        let cases = [
            ("{}", "line 1: missing field"),
            (
                "\n{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 1, \"hash_ids\": []}",
                "line 2: 0 hash_ids",
            ),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15,1,1", "line 2: \"2023-11-16 18:15\""),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1", "line 2: 2 fields"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,-1,1", "line 2: \"-1\""),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
