//! A fake executor: a position's value depends on the values of all positions before it, read from the pages, so that a
//! wrong page or a stale one changes every token that follows.

use sm_kernels::plan::StepBatch;
use sm_tensor::{PageId, TokenId};

/// Positions in a page.
pub(crate) const PAGE_LEN: usize = 4;
/// The token that ends a sequence.
pub(crate) const EOS: TokenId = TokenId(0);
const VOCAB_SIZE: u64 = 40;

/// Mixes bits well enough for no two texts to meet (SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The value of a position from the sum of those before it.
fn value(sum: u64, token: TokenId, position: usize) -> u64 {
    mix(sum ^ mix(u64::from(token.0) << 32 | position as u64))
}

/// What a sampler with this seed draws from a row.
pub(crate) fn sample(value: u64, seed: u64) -> TokenId {
    TokenId((mix(value ^ mix(seed)) % VOCAB_SIZE) as u32)
}

/// The values of all positions of a text, computed without pages.
pub(crate) fn values(token_ids: &[TokenId]) -> Vec<u64> {
    let mut sum = 0_u64;
    let mut values = Vec::with_capacity(token_ids.len());
    for (position, token) in token_ids.iter().enumerate() {
        let value = value(sum, *token, position);
        values.push(value);
        sum = sum.wrapping_add(value);
    }
    values
}

/// The pages of a fake executor.
#[derive(Debug)]
pub(crate) struct Memory {
    values: Vec<u64>,
}

impl Memory {
    pub(crate) fn new(n_pages: usize) -> Self {
        Self { values: (0..n_pages as u64 * PAGE_LEN as u64).map(mix).collect() }
    }

    pub(crate) fn copy_pages(&mut self, copies: &[(PageId, PageId)]) {
        for (from, to) in copies {
            let from = from.0 as usize * PAGE_LEN;
            self.values.copy_within(from..from + PAGE_LEN, to.0 as usize * PAGE_LEN);
        }
    }

    /// Computes a step; gives the values of the rows whose logits are wanted.
    pub(crate) fn run(&mut self, batch: &StepBatch<'_>) -> Vec<u64> {
        let mut rows = vec![0; batch.tokens.len()];
        self.for_each_row(batch, |values, slots, row, token| {
            let position = slots.len() - 1;
            let sum = slots[..position].iter().fold(0_u64, |sum, slot| sum.wrapping_add(values[*slot]));
            values[slots[position]] = value(sum, token, position);
            rows[row] = values[slots[position]];
        });
        batch.outputs.iter().map(|output| rows[output.row as usize]).collect()
    }

    /// Leaves nonsense where the step would have written.
    pub(crate) fn fail(&mut self, batch: &StepBatch<'_>) {
        self.for_each_row(batch, |values, slots, row, _| values[slots[slots.len() - 1]] = mix(row as u64));
    }

    /// Calls `visit` with the memory, the slots of the row's sequence up to the row, the row, and its token.
    fn for_each_row(
        &mut self,
        batch: &StepBatch<'_>,
        mut visit: impl FnMut(&mut [u64], &[usize], usize, TokenId),
    ) {
        let mut next_row = 0;
        for span in batch.spans {
            assert_eq!(span.first_row, next_row, "spans have no gaps");
            next_row += span.n_rows;
            let pages = &batch.page_table[span.first_page as usize..][..span.n_pages as usize];
            let slot =
                |position: usize| pages[position / PAGE_LEN].0 as usize * PAGE_LEN + position % PAGE_LEN;
            let (start, n_rows) = (span.start as usize, span.n_rows as usize);
            let slots: Vec<usize> = (0..start + n_rows).map(slot).collect();
            for index in 0..n_rows {
                let row = span.first_row as usize + index;
                visit(&mut self.values, &slots[..=start + index], row, batch.tokens[row]);
            }
        }
        assert_eq!(next_row as usize, batch.tokens.len());
    }
}
