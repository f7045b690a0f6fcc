//! Mutations of seeds: what a number says, so that a failure can be repeated.
//!
//! Most hit the first 64 KiB, where headers are, or where text is. Numbers become those at which code goes wrong, and parts are
//! repeated, for what is not linear.

mod json;

use crate::rng::Rng;

/// Where most mutations happen.
const HEAD_BYTES: usize = 64 << 10;
/// The longest that repeating makes an input longer.
const MAX_GROWTH: usize = 64 << 10;

const EXTREMES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fff0,
    0xffff_ffff_ffff_ffff,
];

const WORDS: [&str; 16] = [
    "-1",
    "0",
    "1e308",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "9007199254740993",
    "0.1",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\\ud800",
    "\u{feff}",
    "\0",
];

/// Makes input of seeds.
#[derive(Debug)]
pub struct Mutator<'s> {
    /// Not empty.
    seeds: &'s [Vec<u8>],
}

impl<'s> Mutator<'s> {
    /// Of these seeds.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(seeds: &'s [Vec<u8>]) -> Self {
        assert!(!seeds.is_empty(), "no seeds");
        Self { seeds }
    }

    /// Input `number`: a seed with one to six changes. Small seeds come more often than large ones, which cost more.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::new(number);
        let [first, second] = [0, 1].map(|_| rng.of(self.seeds));
        // Each large seed has its turn all the same.
        let is_turn = number.is_multiple_of(16) || first.len() <= second.len();
        let seed = if is_turn { first } else { second };
        // What is valid but for one value goes on to where values are read; hardly anything else gets there.
        if rng.below(3) == 0
            && let Some(bytes) = json::changed(&mut rng, seed, self.seeds)
        {
            return bytes;
        }
        let mut bytes = seed.clone();
        for _ in 0..=rng.below(6) {
            self.change(&mut rng, &mut bytes);
        }
        bytes
    }

    fn change(&self, rng: &mut Rng, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.extend(rng.of(&WORDS).bytes());
            return;
        }
        let reach = if rng.below(4) == 0 { bytes.len() } else { bytes.len().min(HEAD_BYTES) };
        let at = rng.below(reach);
        let most = 1 << rng.below(10);
        let len = (1 + rng.below(most)).min(bytes.len() - at);
        match rng.below(10) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next() as u8,
            2 | 3 => {
                let value = rng.of(&EXTREMES).to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..at + len)),
            6 => {
                let part =
                    bytes[at..at + len].repeat(1 + rng.below(MAX_GROWTH / len).min(1 << rng.below(14)));
                bytes.splice(at..at, part);
            }
            7 => replace_word(rng, bytes, at),
            8 => {
                let other = rng.of(self.seeds);
                let from = rng.below(other.len().max(1)).min(other.len());
                let part = other[from..(from + len).min(other.len())].to_vec();
                bytes.splice(at..at + len, part);
            }
            _ => {
                let to = rng.below(bytes.len());
                bytes.swap(at, to);
            }
        }
    }
}

/// Puts another word in the place of the number or name at `at`.
fn replace_word(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let is_in_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(byte);
    let start = bytes[..at].iter().rposition(|byte| !is_in_word(byte)).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| !is_in_word(byte)).map_or(bytes.len(), |len| at + len);
    // Binary parts have no words.
    let end = end.clamp(start, start + 64).max(start).min(bytes.len());
    bytes.splice(start..end, rng.of(&WORDS).bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_determines_the_input_and_inputs_differ() {
        let seeds = [vec![1; 300], br#"{"a": [12, "bc", {"d": null}], "e": 1.5}"#.to_vec(), Vec::new()];
        let mutator = Mutator::new(&seeds);
        let inputs: Vec<_> = (0..500).map(|number| mutator.input(number)).collect();
        assert!((0..500).all(|number| mutator.input(number) == inputs[number as usize]));
        let distinct: std::collections::HashSet<_> = inputs.iter().collect();
        assert!(distinct.len() > 400, "{} of 500", distinct.len());
        assert!(inputs.iter().all(|input| input.len() <= 300 + 6 * (MAX_GROWTH + 1024)));
    }
}
