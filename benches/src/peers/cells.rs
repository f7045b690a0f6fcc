//! What is measured: the table of acceptance.

use std::fmt;

use super::engines::{
    CANDLE, CTRANSLATE2, Engine, LLAMA, LLAMA_NO_FLASH, LLAMA_NO_REPACK, OPENVINO, OPENVINO_F32,
};

/// A model of random weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name of its [`Shape`](crate::synth::Shape).
    pub shape: &'static str,
    /// The name of its [`Mixture`](sm_model::Mixture).
    pub dtype: &'static str,
}

/// What is timed, or weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A prompt of so many tokens.
    Prefill {
        /// Its length.
        n_tokens: usize,
    },
    /// Steps of one token in each sequence.
    Decode {
        /// Steps.
        n_tokens: usize,
        /// Positions that each sequence holds before.
        depth: usize,
        /// Sequences.
        n_sequences: usize,
    },
    /// From a file in the system's cache to the first token, in a new process.
    Load,
    /// The most memory that a new process holds while it reads a prompt and generates, the file's mapped pages included.
    Memory,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The model.
    pub model: Model,
    /// What is measured on it.
    pub test: Test,
    /// Engines to compare with, each in its settings.
    pub peers: Vec<Engine>,
    /// The least ratio to the best of them.
    pub goal: f64,
}

impl Test {
    /// Positions that each sequence takes.
    pub(crate) fn context_len(&self) -> usize {
        match *self {
            Self::Prefill { n_tokens } => n_tokens,
            Self::Decode { n_tokens, depth, .. } => depth + n_tokens,
            Self::Load => 64,
            Self::Memory => 576,
        }
    }

    /// Sequences that run at once.
    pub(crate) fn n_sequences(&self) -> usize {
        if let Self::Decode { n_sequences, .. } = self { *n_sequences } else { 1 }
    }

    /// Tokens that are timed, those of all sequences; `None` where the figure is no speed.
    pub(crate) fn total_tokens(&self) -> Option<usize> {
        match *self {
            Self::Prefill { n_tokens } => Some(n_tokens),
            Self::Decode { n_tokens, n_sequences, .. } => Some(n_tokens * n_sequences),
            Self::Load | Self::Memory => None,
        }
    }

    /// Whether it wants a process that did nothing before.
    pub(crate) fn wants_new_process(&self) -> bool {
        matches!(self, Self::Load | Self::Memory)
    }
}

impl fmt::Display for Test {
    /// As `sm bench` and llama-bench name them: `pp512`, `tg64`, `tg64@d1024`, `tg32@d16@b8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Prefill { n_tokens } => write!(f, "pp{n_tokens}"),
            Self::Decode { n_tokens, depth, n_sequences } => {
                write!(f, "tg{n_tokens}")?;
                if depth > 0 {
                    write!(f, "@d{depth}")?;
                }
                if n_sequences > 1 { write!(f, "@b{n_sequences}") } else { Ok(()) }
            }
            Self::Load => write!(f, "load"),
            Self::Memory => write!(f, "memory"),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.shape, self.dtype)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.model, self.test)
    }
}

const LARGE: &str = "llama-1.1b";
const SMALL: &str = "smollm2-135m";
const DTYPES: [&str; 5] = ["q4_0", "q8_0", "q4_k_m", "f16", "bf16"];

/// Every cell, those of one model together. `is_quick` makes the tests shorter and leaves batches between out.
pub fn cells(is_quick: bool) -> Vec<Cell> {
    let (prompt, steps) = if is_quick { (128, 16) } else { (512, 64) };
    let prefill = Test::Prefill { n_tokens: prompt };
    let decode = Test::Decode { n_tokens: steps, depth: 0, n_sequences: 1 };
    let deep = Test::Decode { n_tokens: steps, depth: 1024, n_sequences: 1 };
    let prefill_peers = [LLAMA, LLAMA_NO_REPACK, OPENVINO, OPENVINO_F32, CANDLE];
    let decode_peers = [LLAMA, CANDLE];
    let deep_peers = [LLAMA, LLAMA_NO_FLASH, OPENVINO];
    let process_peers = [LLAMA];

    let mut table = Table(Vec::new());
    for dtype in DTYPES {
        let model = Model { shape: LARGE, dtype };
        table.push(model, prefill, &prefill_peers);
        table.push(model, decode, &decode_peers);
        if matches!(dtype, "q4_0" | "q8_0") {
            table.push(model, deep, &deep_peers);
        }
        table.push(model, Test::Load, &process_peers);
        table.push(model, Test::Memory, &process_peers);
        if dtype == "q4_0" {
            table.push_batches(model, if is_quick { &[8] } else { &[1, 2, 4, 8, 16, 32] });
        }
    }
    for dtype in ["q4_0", "q8_0"] {
        let model = Model { shape: SMALL, dtype };
        table.push(model, prefill, &[LLAMA, LLAMA_NO_REPACK, OPENVINO, OPENVINO_F32]);
        table.push(model, decode, &[LLAMA, OPENVINO]);
        if dtype == "q4_0" {
            table.push(model, deep, &deep_peers);
        }
        table.push(model, Test::Load, &process_peers);
        table.push(model, Test::Memory, &process_peers);
    }
    table.0
}

struct Table(Vec<Cell>);

impl Table {
    fn push(&mut self, model: Model, test: Test, peers: &[Engine]) {
        self.0.push(Cell { model, test, peers: peers.to_vec(), goal: 1.0 });
    }

    fn push_batches(&mut self, model: Model, batches: &[usize]) {
        for &n_sequences in batches {
            let test = Test::Decode { n_tokens: 32, depth: 16, n_sequences };
            self.push(model, test, &[LLAMA, CTRANSLATE2]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sm_model::Mixture;

    use super::*;
    use crate::synth::Shape;

    #[test]
    fn every_cell_has_a_model_and_a_name_of_its_own() {
        for is_quick in [false, true] {
            let cells = cells(is_quick);
            let names: HashSet<_> = cells.iter().map(Cell::to_string).collect();
            assert_eq!(names.len(), cells.len());
            for Cell { model, .. } in cells {
                assert!(Shape::named(model.shape).is_some(), "{model}");
                assert!(Mixture::named(model.dtype).is_ok(), "{model}");
            }
        }
    }

    #[test]
    fn names_are_those_of_llama_bench() {
        let deep = Test::Decode { n_tokens: 64, depth: 1024, n_sequences: 8 };
        assert_eq!(deep.to_string(), "tg64@d1024@b8");
        assert_eq!((deep.context_len(), deep.total_tokens()), (1088, Some(512)));
        assert_eq!(Test::Prefill { n_tokens: 512 }.to_string(), "pp512");
    }
}
