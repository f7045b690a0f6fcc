//! The cells of the acceptance table.

use std::fmt;

use super::engines::{
    BASELINE, CANDLE, CTRANSLATE2, Engine, LLAMA, LLAMA_NO_FLASH, LLAMA_NO_REPACK, OPENVINO, OPENVINO_F32,
    READ, READ_INTO_MEMORY,
};

/// A model with random weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name of its [`Shape`](crate::synth::Shape).
    pub shape: &'static str,
    /// The name of its [`Mixture`](sm_model::Mixture).
    pub dtype: &'static str,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A prompt.
    Prefill {
        /// Its length.
        n_tokens: usize,
    },
    /// Steps of one token in each sequence.
    Decode {
        /// Steps.
        n_tokens: usize,
        /// Positions filled before the clock starts.
        depth: usize,
        /// Sequences.
        n_sequences: usize,
    },
    /// From a file in the page cache to the first token, in a new process.
    Load,
    /// The same with packed weights saved by an earlier run.
    LoadPacked,
    /// Peak memory of a new process that reads a prompt and generates, including mapped file pages.
    Memory,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The model.
    pub model: Model,
    /// What is measured on it.
    pub test: Test,
    /// The engines to compare with.
    pub peers: Vec<Peer>,
}

/// An engine to compare with, in one of its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peer {
    /// The engine.
    pub engine: Engine,
    /// Required speed-up, or memory reduction, of this engine over the peer.
    pub goal: f64,
}

impl Test {
    /// Positions per sequence.
    pub(crate) fn context_len(&self) -> usize {
        match *self {
            Self::Prefill { n_tokens } => n_tokens,
            Self::Decode { n_tokens, depth, .. } => depth + n_tokens,
            Self::Load | Self::LoadPacked => 64,
            Self::Memory => 576,
        }
    }

    /// Sequences at once.
    pub(crate) fn n_sequences(&self) -> usize {
        if let Self::Decode { n_sequences, .. } = self { *n_sequences } else { 1 }
    }

    /// Timed tokens of all sequences; `None` if the result is not a speed.
    pub(crate) fn total_tokens(&self) -> Option<usize> {
        match *self {
            Self::Prefill { n_tokens } => Some(n_tokens),
            Self::Decode { n_tokens, n_sequences, .. } => Some(n_tokens * n_sequences),
            Self::Load | Self::LoadPacked | Self::Memory => None,
        }
    }

    /// Whether it needs a fresh process.
    pub(crate) fn wants_new_process(&self) -> bool {
        matches!(self, Self::Load | Self::LoadPacked | Self::Memory)
    }
}

impl fmt::Display for Test {
    /// The name in `sm bench` and llama-bench: `pp512`, `tg64`, `tg64@d1024`, `tg32@d16@b8`.
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
            Self::LoadPacked => write!(f, "load-packed"),
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

impl Cell {
    /// The cell with another build of this engine as its first peer.
    #[must_use]
    pub fn against_baseline(mut self, goal: f64) -> Self {
        self.peers.insert(0, Peer { engine: BASELINE, goal });
        self
    }
}

const LARGE: &str = "llama-1.1b";
const SMALL: &str = "smollm2-135m";
const DTYPES: [&str; 5] = ["q4_0", "q8_0", "q4_k_m", "f16", "bf16"];

/// All cells, grouped by model. `is_quick` shortens the tests and skips most batch sizes. Goals assume AVX-512 VNNI;
/// without it (`has_wide`), the goal is to be no slower than any peer.
pub fn cells(is_quick: bool, has_wide: bool) -> Vec<Cell> {
    let (prompt, steps) = if is_quick { (128, 16) } else { (512, 64) };
    let prefill = Test::Prefill { n_tokens: prompt };
    let decode = Test::Decode { n_tokens: steps, depth: 0, n_sequences: 1 };
    let deep = Test::Decode { n_tokens: steps, depth: 1024, n_sequences: 1 };
    let mut cells = Vec::new();
    for (shape, dtypes) in [(LARGE, DTYPES.as_slice()), (SMALL, &DTYPES[..2])] {
        for dtype in dtypes {
            let model = Model { shape, dtype };
            let batches: &[usize] = match (model, is_quick) {
                (Model { shape: LARGE, dtype: "q4_0" }, false) => &[1, 2, 4, 8, 16, 32],
                (Model { shape: LARGE, dtype: "q4_0" }, true) => &[8],
                _ => &[],
            };
            let batch = |&n_sequences| Test::Decode { n_tokens: 32, depth: 16, n_sequences };
            let tests = [prefill, decode, deep, Test::Load, Test::LoadPacked, Test::Memory];
            for test in tests.into_iter().chain(batches.iter().map(batch)) {
                let mut peers = peers(model, test);
                if !has_wide {
                    peers.iter_mut().for_each(|peer| peer.goal = peer.goal.min(1.0));
                }
                cells.extend((!peers.is_empty()).then_some(Cell { model, test, peers }));
            }
        }
    }
    cells
}

/// The peers of a cell; none if the cell is not in the table.
fn peers(model: Model, test: Test) -> Vec<Peer> {
    let peers = match (model.shape, model.dtype, test) {
        (_, _, Test::Load | Test::LoadPacked) => vec![(LLAMA, 1.0), (READ, 0.5), (READ_INTO_MEMORY, 0.5)],
        (_, _, Test::Memory) => vec![(LLAMA, 1.0)],
        // Two of the batch sizes have goals.
        (_, _, Test::Decode { n_sequences, depth: 1..1024, .. }) => {
            let goal = |of: usize, goal: f64| if n_sequences == of { goal } else { 1.0 };
            vec![(LLAMA, goal(8, 2.5)), (CTRANSLATE2, goal(32, 2.3))]
        }
        (shape, dtype, Test::Prefill { .. }) => {
            let (llama, openvino) = match (shape, dtype) {
                (LARGE, "q4_0") => (3.5, 1.3),
                (LARGE, "q8_0") => (5.0, 1.3),
                (LARGE, "q4_k_m") => (1.6, 1.6),
                (LARGE, _) => (1.7, 1.0),
                (_, "q4_0") => (3.0, 1.0),
                (_, _) => (1.0, 1.3),
            };
            let peers =
                [(LLAMA, llama), (LLAMA_NO_REPACK, llama), (OPENVINO, openvino), (OPENVINO_F32, openvino)];
            peers.into_iter().chain((shape == LARGE).then_some((CANDLE, 1.0))).collect()
        }
        (LARGE, "q4_0", Test::Decode { depth: 0, .. }) => vec![(LLAMA, 1.85), (CANDLE, 1.0)],
        (LARGE, "q8_0", Test::Decode { depth: 0, .. }) => vec![(LLAMA, 1.8), (CANDLE, 1.15)],
        (LARGE, "q4_k_m", Test::Decode { depth: 0, .. }) => vec![(LLAMA, 1.8), (CANDLE, 1.0)],
        (LARGE, _, Test::Decode { depth: 0, .. }) => vec![(LLAMA, 1.3), (CANDLE, 1.0)],
        (_, "q4_0", Test::Decode { depth: 0, .. }) => vec![(LLAMA, 2.4), (OPENVINO, 1.0)],
        (_, _, Test::Decode { depth: 0, .. }) => vec![(LLAMA, 2.0), (OPENVINO, 1.0)],
        (LARGE, "q4_0", Test::Decode { .. }) => vec![(LLAMA, 1.9), (LLAMA_NO_FLASH, 1.9), (OPENVINO, 1.0)],
        (LARGE, "q8_0", Test::Decode { .. }) => vec![(LLAMA, 1.0), (LLAMA_NO_FLASH, 1.0), (OPENVINO, 1.5)],
        (SMALL, "q4_0", Test::Decode { .. }) => vec![(LLAMA, 2.5), (LLAMA_NO_FLASH, 2.5), (OPENVINO, 1.0)],
        _ => Vec::new(),
    };
    peers.into_iter().map(|(engine, goal)| Peer { engine, goal }).collect()
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
            let cells = cells(is_quick, true);
            let names: HashSet<_> = cells.iter().map(Cell::to_string).collect();
            assert_eq!(names.len(), cells.len());
            for Cell { model, .. } in cells {
                assert!(Shape::named(model.shape).is_some(), "{model}");
                assert!(Mixture::named(model.dtype).is_ok(), "{model}");
            }
        }
    }

    #[test]
    fn without_wide_instructions_nobody_may_be_ahead() {
        let goals = |has_wide| -> Vec<f64> {
            cells(false, has_wide).iter().flat_map(|cell| &cell.peers).map(|peer| peer.goal).collect()
        };
        for goal in [3.5, 5.0, 1.6, 1.7, 1.85, 1.15, 1.9, 1.5, 2.5, 2.3, 2.4] {
            assert!(goals(true).contains(&goal), "{goal}");
        }
        assert!(goals(false).iter().all(|goal| matches!(*goal, 1.0 | 0.5)));
    }

    #[test]
    fn names_are_those_of_llama_bench() {
        let deep = Test::Decode { n_tokens: 64, depth: 1024, n_sequences: 8 };
        assert_eq!(deep.to_string(), "tg64@d1024@b8");
        assert_eq!((deep.context_len(), deep.total_tokens()), (1088, Some(512)));
        assert_eq!(Test::Prefill { n_tokens: 512 }.to_string(), "pp512");
    }
}
