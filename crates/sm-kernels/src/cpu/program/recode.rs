//! Phases that make another form of rows: int8 blocks, or pairs of bfloat16.

use super::BoundKernel;
use crate::cpu::activations::bf16::{self, Bf16Slot};
use crate::cpu::activations::int8::{BLOCK_LEN, Int8Block, encode_row};
use crate::cpu::arena::{Access, Region};
use crate::cpu::isa::Isa;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::step::StepContext;

/// Encodes rows as int8 blocks, where the op that wrote them could not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encode {
    /// `[rows, width]`
    pub(crate) x: Region<f32>,
    /// `[rows, width / 32]`, by rows.
    pub(crate) out: Region<Int8Block>,
}

impl BoundKernel for Encode {
    fn run<I: Isa>(
        &self,
        isa: I,
        _step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        let x = access.read(self.x);
        let mut out = access.share(self.out);
        isa.enter(
            #[inline(always)]
            || {
                for row in out.rows() {
                    let blocks = out.row_mut(row);
                    encode_row(isa, &x[row * self.x.stride()..][..blocks.len() * BLOCK_LEN], blocks);
                }
            },
        );
    }
}

/// Rounds rows for weights in BF16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// `[rows, cols]`
    pub(crate) x: Region<f32>,
    /// Values of a row.
    pub(crate) cols: usize,
    /// `[rows, bf16::stride(cols)]`, by rows.
    pub(crate) out: Region<Bf16Slot>,
}

impl BoundKernel for Round {
    fn run<I: Isa>(
        &self,
        isa: I,
        _step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        let x = access.read(self.x);
        let mut out = access.share(self.out);
        for row in out.rows() {
            bf16::round_row(isa, &x[row * self.x.stride()..][..self.cols], out.row_mut(row));
        }
    }
}
