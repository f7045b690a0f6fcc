//! The ids of calls.

use super::ToolForm;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes the ids of an answer's calls: the same ones for the same seed, so that a stream that is repeated repeats them.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallIds {
    form: ToolForm,
    seed: u64,
}

impl CallIds {
    pub(super) fn new(form: ToolForm, seed: u64) -> Self {
        Self { form, seed }
    }

    /// The id of the call with this index. Templates of Mistral take nine letters or digits, and those of Kimi K2 what the model
    /// writes itself.
    pub(super) fn id(self, index: usize, name: &str) -> String {
        match self.form {
            ToolForm::Mistral => self.letters(index, 9),
            ToolForm::KimiK2 => format!("functions.{name}:{index}"),
            _ => format!("call_{}", self.letters(index, 24)),
        }
    }

    fn letters(self, index: usize, n: usize) -> String {
        let mut state = mix(self.seed).wrapping_add(index as u64);
        (0..n)
            .map(|_| {
                state = mix(state);
                char::from(LETTERS[(state >> 32) as usize % LETTERS.len()])
            })
            .collect()
    }
}

/// SplitMix64.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
