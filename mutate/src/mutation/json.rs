//! Changes to a value somewhere in a JSON text.

use serde_json::Value;

use super::{HEAD_BYTES, MAX_GROWTH, WORDS};
use crate::rng::Rng;

/// How deep a value is buried: beyond the 128 levels that serde_json reads.
const DEPTH: usize = 200;
/// How often a value is repeated at most.
const MAX_REPEATS: usize = 4096;

/// A seed with one or two of its values changed, if it is a JSON text of moderate size, or ends in one.
pub(super) fn changed(rng: &mut Rng, seed: &[u8], seeds: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (head, mut value) = parse(seed)?;
    for _ in 0..=rng.below(2) {
        let n_nodes = count(&value);
        let node = nth(&mut value, &mut rng.below(n_nodes))?;
        *node = other(rng, std::mem::take(node), seeds);
    }
    Some([head, value.to_string().as_bytes()].concat())
}

/// What comes before the JSON text, and its value.
fn parse(seed: &[u8]) -> Option<(&[u8], Value)> {
    let start = seed.iter().take(HEAD_BYTES).position(|byte| b"{[".contains(byte))?;
    let (head, text) = seed.split_at(start);
    if text.len() > HEAD_BYTES {
        return None;
    }
    Some((head, serde_json::from_slice(text).ok()?))
}

/// Another value in the place of this one.
fn other(rng: &mut Rng, value: Value, seeds: &[Vec<u8>]) -> Value {
    match rng.below(8) {
        0 => Value::Array(Vec::new()),
        1 => Value::Array(vec![value]),
        2 => {
            let most = (MAX_GROWTH / value.to_string().len()).clamp(1, MAX_REPEATS);
            Value::Array(vec![value; 1 + rng.below(most)])
        }
        3 => Value::String("\u{1f98a}a".repeat(1 + rng.below(MAX_REPEATS))),
        4 => (0..DEPTH).fold(value, |inner, _| Value::Array(vec![inner])),
        5 => parse(rng.of::<Vec<u8>>(seeds)).map_or(value, |(_, mut other)| {
            let n_nodes = count(&other);
            nth(&mut other, &mut rng.below(n_nodes)).map(std::mem::take).unwrap_or_default()
        }),
        _ => {
            let word = rng.of(&WORDS);
            serde_json::from_str(word).unwrap_or_else(|_| Value::from(*word))
        }
    }
}

/// The number of values in a value, with itself.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(values) => values.values().map(count).sum(),
        _ => 0,
    }
}

/// Value `index` in a value, in the order of the text. Counts `index` down on the way.
fn nth<'v>(value: &'v mut Value, index: &mut usize) -> Option<&'v mut Value> {
    if *index == 0 {
        return Some(value);
    }
    *index -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|value| nth(value, index)),
        Value::Object(values) => values.values_mut().find_map(|value| nth(value, index)),
        _ => None,
    }
}
