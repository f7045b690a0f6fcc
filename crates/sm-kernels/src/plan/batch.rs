//! What one step computes: rows of tokens, whose they are, and what is wanted of them.

use sm_tensor::{PageId, StateSlot, TokenId};

use super::RopeRange;

/// Positions in a KV page.
pub const PAGE_LEN: usize = 16;

/// The rows of one sequence within a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first row in the step.
    pub first_row: u32,
    /// Number of rows; at least one.
    pub n_rows: u32,
    /// Position of the first row: how many tokens of the sequence were computed before.
    pub start: u32,
    /// Index of the sequence's first page in the page table.
    pub first_page: u32,
    /// Number of its pages; enough for `start + n_rows` positions.
    pub n_pages: u32,
    /// Where its recurrent state is; `None` for plans without states.
    pub state: Option<StateSpan>,
    /// Which frequencies turn its keys and queries: the same in all steps of a sequence.
    pub rope_range: RopeRange,
}

/// The recurrent state of a span: read before its first row, written after its last, and kept after some rows in between.
///
/// Within one step no slot that a span writes or keeps is touched by another span; several spans may read a slot that
/// none writes, so that forks can start from one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSpan {
    /// The state before the first row; `None` is the zero state of an empty sequence, and then `start` is 0.
    pub read: Option<StateSlot>,
    /// Receives the state after the last row; may equal `read`.
    pub write: StateSlot,
    /// The span's first entry of [`StepBatch::kept_states`].
    pub first_kept: u32,
    /// Number of its entries.
    pub n_kept: u32,
}

/// A state on the way that is not to be lost: a snapshot at a page boundary, or what a rejected draft falls back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// The state after this many tokens of the sequence: `start < position <= start + n_rows`, ascending within a span.
    pub position: u32,
    /// Receives a copy of it.
    pub slot: StateSlot,
}

/// What a step gives for one of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRow {
    /// Index of the row in the step.
    pub row: u32,
    /// What is wanted.
    pub wanted: Wanted,
}

/// What is wanted of a row. The less it is, the less a device far away has to send.
///
/// Logits are ordered from the largest down, equal ones by token id. NaN comes before everything, so that broken logits
/// show instead of hiding behind a plausible token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// All logits, `[vocab_size]`.
    Logits,
    /// The first token in the order of logits, and its logit.
    ArgMax,
    /// This many tokens, at least one, in the order of logits, with their logits; and the logarithm of the sum of the
    /// exponentials of all logits, which turns logits into log-probabilities. The whole vocabulary if it has fewer.
    TopK(u32),
    /// The hidden state `[hidden_size]` behind the final norm: an embedding of the text up to the row.
    Hidden,
}

impl OutputRow {
    /// All logits of a row.
    pub const fn logits(row: u32) -> Self {
        Self { row, wanted: Wanted::Logits }
    }
}

/// Everything an executor needs to know about one step.
///
/// ```
/// use sm_kernels::plan::{OutputRow, Span, StepBatch};
/// use sm_tensor::{PageId, TokenId};
///
/// // A prompt of three tokens in page 7; what comes next is to be sampled.
/// let batch = StepBatch {
///     tokens: &[TokenId(5), TokenId(1), TokenId(9)],
///     spans: &[Span { n_rows: 3, n_pages: 1, ..Span::default() }],
///     page_table: &[PageId(7)],
///     outputs: &[OutputRow::logits(2)],
///     ..StepBatch::default()
/// };
/// # let _ = batch;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StepBatch<'a> {
    /// `[n_tokens]`: the rows of all spans.
    pub tokens: &'a [TokenId],
    /// `[n_sequences]`: in the order of their rows, without gaps.
    pub spans: &'a [Span],
    /// The pages of all spans.
    pub page_table: &'a [PageId],
    /// The kept states of all spans.
    pub kept_states: &'a [KeptState],
    /// `[n_outputs]`: the rows with wanted outputs, ascending.
    pub outputs: &'a [OutputRow],
    /// `[n_tokens, width]`: what the plan's external input holds, for plans that have one: the second part of a plan
    /// that was split.
    pub input: Option<&'a [f32]>,
}
