//! Adds up what was measured of operations of the same kind.

use std::time::Duration;

use super::profile::{Profile, ProfileRow, Speed, Traffic};
use super::work::Work;
use super::{MatrixId, Op, Plan};

/// What was measured of one operation in some steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpProfile {
    pub(crate) time: Duration,
    pub(crate) waiting: Duration,
    pub(crate) work: Work,
}

impl Plan {
    /// Adds up the operations of each kind; `ops` has one entry for each operation of the plan.
    pub(crate) fn profile(&self, n_steps: usize, time: Duration, ops: &[OpProfile], speed: Speed) -> Profile {
        let mut rows: Vec<ProfileRow> = Vec::new();
        for (op, measured) in self.ops.iter().zip(ops) {
            let name = self.kind(op);
            let known = rows.iter().position(|row| row.name == name);
            let index = known.unwrap_or_else(|| {
                let time = Duration::ZERO;
                let waiting = Duration::ZERO;
                rows.push(ProfileRow { name, n_ops: 0, time, waiting, work: Work::default() });
                rows.len() - 1
            });
            let row = &mut rows[index];
            row.n_ops += 1;
            row.time += measured.time;
            row.waiting += measured.waiting;
            row.work += measured.work;
        }
        let in_ops: Duration = rows.iter().map(|row| row.time).sum();
        rows.push(ProfileRow {
            name: "start and end of the step".to_owned(),
            n_ops: 0,
            time: time.saturating_sub(in_ops),
            waiting: Duration::ZERO,
            work: Work::default(),
        });
        Profile { n_steps, time, rows, speed, traffic: Traffic::default() }
    }

    fn kind(&self, op: &Op) -> String {
        let is_head = op.writes().iter().any(|write| Some(write.buffer) == self.logits);
        let matrices = op.main_matrices();
        let weights = if matrices.is_empty() { String::new() } else { self.format_and_shape(&matrices) };
        (if is_head { "output head" } else { op.name() }).to_owned() + &weights
    }

    /// ` q8_0 4096 x 576`: the formats of the parts, and the shape of the matrices stacked.
    fn format_and_shape(&self, matrices: &[MatrixId]) -> String {
        let mut dtypes: Vec<_> = Vec::new();
        for part in matrices.iter().flat_map(|&id| &self.matrix(id).parts) {
            if !dtypes.contains(&part.dtype.name()) {
                dtypes.push(part.dtype.name());
            }
        }
        let shapes = matrices.iter().map(|&id| (self.matrix(id).rows(), self.matrix(id).cols));
        let mut shapes: Vec<_> = shapes.map(|(rows, cols)| format!("{rows} x {cols}")).collect();
        shapes.dedup();
        format!(" {} {}", dtypes.join("+"), shapes.join(", "))
    }
}
