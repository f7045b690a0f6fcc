//! Looks up the rows of tokens, and of positions.

use crate::gpu::binder::{Binder, Phase, RowPhase, params};
use crate::gpu::form::Form;
use crate::gpu::kernel::{Binding, KernelSpec};
use crate::gpu::weights::MatrixPiece;
use crate::plan::{Embed, MatrixId, PrepareError, Rows};

const BINDINGS: [Binding; 5] =
    [Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite];

/// What chooses a row of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Token,
    Position,
}

pub(super) fn bind(binder: &Binder<'_>, op: &Embed) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let mut phases = lookups(binder, op, op.table, By::Token, op.scale)?;
    if let Some(positions) = op.positions {
        phases.extend(lookups(binder, op, positions, By::Position, 1.0)?);
    }
    Ok(phases)
}

fn spec(form: Form, by: By) -> KernelSpec {
    let source = form
        .source()
        .names(&super::STORE_NAMES)
        .number("STORE", usize::from(by == By::Position))
        .flag("BY_TOKEN", by == By::Token)
        .text(include_str!("embed.wgsl"));
    KernelSpec { name: "embed", source, bindings: &BINDINGS }
}

/// The kernels for a form.
#[cfg(test)]
pub(super) fn samples(form: Form) -> Vec<KernelSpec> {
    vec![spec(form, By::Token), spec(form, By::Position)]
}

/// A dispatch for each piece of a table. Rows of positions are added to those of tokens.
fn lookups(
    binder: &Binder<'_>,
    op: &Embed,
    table: MatrixId,
    by: By,
    scale: f32,
) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let table = binder.weights.matrix(table);
    let (_, out_stride) = binder.widths(op.out);
    let phase = |piece: &MatrixPiece| {
        let kernel = binder.gpu.kernel(&spec(piece.form, by))?;
        let [low, high, scales] = &piece.planes;
        let buffers =
            binder.gpu.bind(&kernel, &[low, high, scales, &binder.tables.rows, binder.buffer(op.out)]);
        let params = params(&[
            0,
            table.segments as u32,
            piece.rows as u32,
            piece.first_row as u32,
            out_stride / 4,
            scale.to_bits(),
        ]);
        Ok(Box::new(RowPhase { kernel, buffers, rows: Rows::Tokens, width: 1, params }) as Box<dyn Phase>)
    };
    table.pieces.iter().map(phase).collect()
}
