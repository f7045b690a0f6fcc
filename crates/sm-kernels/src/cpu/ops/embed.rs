//! Token embedding: rows of the table, scaled, plus learned positions.
//!
//! ```text
//! out[n] = scale * table[token[n]] + positions[position[n]]
//! ```
//!
//! Rows are split over workers. The table is packed like any matrix, since models that tie it multiply with it in the output
//! head; a row is one lane of a panel, decoded to the bits of the file.

use crate::cpu::arena::{Access, Region};
use crate::cpu::isa::Isa;
use crate::cpu::step::StepContext;
use crate::plan::MatrixId;

/// An embedding with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Embed {
    /// `[vocab_size, hidden]`
    pub(crate) table: MatrixId,
    /// `[context_len or more, hidden]`
    pub(crate) positions: Option<MatrixId>,
    /// Factor on the row of the table.
    pub(crate) scale: f32,
    /// `[n_tokens, hidden]`, by rows.
    pub(crate) out: Region<f32>,
    /// A row for each worker, as long as a row of `out`: the position's embedding.
    pub(crate) work: Region<f32>,
}

impl Embed {
    /// Computes this worker's rows.
    pub(crate) fn run<I: Isa>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let table = step.weights.matrix(self.table);
        let positions = self.positions.map(|id| step.weights.matrix(id));
        let mut out = access.share(self.out);
        let mut work = access.share(self.work);
        let work = work.all_mut();
        isa.enter(
            #[inline(always)]
            || {
                for row in out.rows() {
                    let out = out.row_mut(row);
                    let (values, padding) = out.split_at_mut(table.cols());
                    padding.fill(0.0);
                    table.dequantize_row(isa, step.batch.tokens[row].0 as usize, values);
                    work.fill(0.0);
                    if let Some(positions) = positions {
                        let position = step.tables.positions[row] as usize;
                        positions.dequantize_row(isa, position, &mut work[..table.cols()]);
                    }
                    for (value, added) in out.as_chunks_mut().0.iter_mut().zip(work.as_chunks().0) {
                        let sum = isa.mul_add(isa.load(value), isa.splat(self.scale), isa.load(added));
                        isa.store(value, sum);
                    }
                }
            },
        );
    }
}
