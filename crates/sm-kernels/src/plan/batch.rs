//! What one step computes.

use sm_tensor::{PageId, TokenId};

/// Positions in a KV page.
pub const PAGE_LEN: usize = 16;

/// The rows of one sequence within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of the first row in the step.
    pub first_row: u32,
    /// Number of rows; at least one.
    pub n_rows: u32,
    /// Position of the first row: how many tokens of the sequence are in the pages already.
    pub start: u32,
    /// Index of the sequence's first page in the page table.
    pub first_page: u32,
    /// Number of its pages; enough for `start + n_rows` positions.
    pub n_pages: u32,
}

/// Everything an executor needs to know about one step.
#[derive(Clone, Copy, Debug)]
pub struct StepBatch<'a> {
    /// `[n_tokens]`: the rows of all spans.
    pub tokens: &'a [TokenId],
    /// `[n_sequences]`: in the order of their rows, without gaps.
    pub spans: &'a [Span],
    /// The pages of all spans.
    pub page_table: &'a [PageId],
    /// `[n_outputs]`: rows whose logits are wanted, ascending.
    pub output_rows: &'a [u32],
}
