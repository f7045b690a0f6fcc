//! Mixture-of-experts feed-forward: each row goes to a few experts, whose outputs are added up by weight.
//!
//! ```text
//! p         = softmax(router x)
//! out       = sum over the top_k experts e of  weight_e * down_e(activation(gate_e x) * up_e x)
//! weight_e  = p_e,  divided by the sum over the chosen ones if the model renormalises
//!
//! phase 1   logits  = router x                     a Linear
//! phase 2   choose  the top_k of each row          split by rows
//! phase 3   gated   products of each expert        split by columns, rows sorted by expert
//! phase 4   down    products, and weighted sums    split by columns
//! ```
//!
//! An *assignment* is a row and one of its experts, by rank. Assignments are sorted by expert (a counting sort, which every
//! worker does for itself rather than wait for a barrier), so that an expert's weights are read once for all its rows.
//! Phase 4 writes each assignment's result to the place of its row and rank, and adds them up in the order of ranks: the sum
//! of a row does not depend on which other rows chose the same experts. Ties go to the lower index.
//!
//! Sources: Shazeer et al. 2017 (arXiv 1701.06538); Mixtral (Jiang et al. 2024) for renormalised top-k.

use std::ops::Range;

use super::linear::apply_gate;
use super::math;
use super::product::{ProductWorkspace, Sink, product};
use super::reduce::{mask_tail, sum_vectors};
use crate::cpu::activations::{InputRows, OutputColumns, RowWriter, bf16};
use crate::cpu::arena::{Access, Region};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::split::Share;
use crate::cpu::step::StepContext;
use crate::plan::{Experts, Store};

/// A mixture of experts with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoeFfn {
    /// `[rows, hidden]`
    pub(crate) x: BufferRegions,
    /// The matrices, and how experts are chosen.
    pub(crate) experts: Experts,
    /// Whether to replace or to add.
    pub(crate) store: Store,
    /// `[rows, hidden]`, by columns.
    pub(crate) out: BufferRegions,
    /// `[rows, n_experts]`: the router's logits.
    pub(crate) logits: Region<f32>,
    /// A row for each worker: exponentials of the logits.
    pub(crate) exps: Region<f32>,
    /// `[rows, top_k]`: the chosen experts, the most probable first.
    pub(crate) chosen: Region<u32>,
    /// `[rows, top_k]`: their weights.
    pub(crate) weights: Region<f32>,
    /// A row for each worker: the assignments sorted by expert, then `[n_experts + 1]` where each expert's begin.
    pub(crate) order: Region<u32>,
    /// `[assignments, ffn]`: the gated products, sorted by expert, by columns.
    pub(crate) inner: BufferRegions,
    /// `[assignments, hidden]`: the experts' results, by row and rank, by columns.
    pub(crate) results: Region<f32>,
}

/// Assignments sorted by expert.
struct SortedAssignments<'a> {
    /// `row * top_k + rank`
    assignments: &'a [u32],
    /// `[n_experts + 1]`
    starts: &'a [u32],
}

impl<'a> SortedAssignments<'a> {
    /// Where an expert's assignments begin, and those.
    fn of_expert(&self, expert: usize) -> (usize, &'a [u32]) {
        let start = self.starts[expert] as usize;
        let end = self.starts[expert + 1] as usize;
        (start, &self.assignments[start..end])
    }
}

impl MoeFfn {
    /// Phase 2: chooses the experts of this worker's rows.
    pub(crate) fn choose<I: Isa>(&self, isa: I, access: &Access<'_>) {
        let logits = access.read(self.logits);
        let mut chosen = access.share(self.chosen);
        let mut weights = access.share(self.weights);
        let mut exps = access.share(self.exps);
        let exps = exps.all_mut();
        isa.enter(
            #[inline(always)]
            || {
                for row in chosen.rows() {
                    let logits = &logits[row * self.logits.stride()..][..self.logits.stride()];
                    self.choose_row(isa, logits, &mut *exps, chosen.row_mut(row), weights.row_mut(row));
                }
            },
        );
    }

    #[inline(always)]
    fn choose_row<I: Isa>(
        &self,
        isa: I,
        logits: &[f32],
        exps: &mut [f32],
        chosen: &mut [u32],
        weights: &mut [f32],
    ) {
        let n_experts = self.experts.n_experts;
        let n_vectors = logits.len() / LANES;
        let max = logits[..n_experts].iter().fold(f32::NEG_INFINITY, |max, logit| max.max(*logit));
        let sum = sum_vectors(
            isa,
            n_vectors,
            #[inline(always)]
            |index, sum| isa.add(exp_vector(isa, logits, max, n_experts, index), sum),
        );
        for index in 0..n_vectors {
            let values = exps.as_chunks_mut::<LANES>().0;
            isa.store(&mut values[index], exp_vector(isa, logits, max, n_experts, index));
        }
        for rank in 0..chosen.len() {
            let expert = most_probable(&exps[..n_experts], &chosen[..rank]);
            chosen[rank] = expert;
            weights[rank] = exps[expert as usize] / sum;
        }
        if self.experts.renormalize {
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
    }

    /// Phase 3: computes this worker's columns of the gated products.
    pub(crate) fn gated<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        let mut order = access.share(self.order);
        let sorted = self.sort(access.read(self.chosen), order.all_mut());
        let [gate, up] = [self.experts.gate, self.experts.up].map(|id| step.weights.matrix(id));
        let x = self.x.input(access);
        let mut out = self.inner.output(access);
        let ffn_size = step.weights.matrix(self.experts.down).cols();
        let mut rows = [0; ROWS_AT_A_TIME];
        for expert in 0..self.experts.n_experts {
            let (start, assignments) = sorted.of_expert(expert);
            let columns = in_expert(out.columns(ffn_size), expert, ffn_size);
            for (index, assignments) in assignments.chunks(ROWS_AT_A_TIME).enumerate() {
                let rows = &mut rows[..assignments.len()];
                for (row, assignment) in rows.iter_mut().zip(assignments) {
                    *row = assignment / self.experts.top_k as u32;
                }
                let input = InputRows { n_rows: rows.len(), row_indices: Some(rows), ..x };
                let first_row = start + index * ROWS_AT_A_TIME;
                let first_column = expert * ffn_size;
                let mut sink = GatedSink { op: self, out: &mut out, first_row, first_column };
                product(isa, &input, [gate, up], columns.clone(), &mut sink, workspace);
            }
        }
    }

    /// Phase 4: computes this worker's columns of the experts' results, and their weighted sums.
    pub(crate) fn down<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        let order = access.read(self.order);
        let order = &order[access.worker().index() * self.order.stride()..][..self.order.stride()];
        let sorted = self.sorted(order, access.n_rows(self.chosen) * self.experts.top_k);
        let down = step.weights.matrix(self.experts.down);
        let inner = self.inner.input(access);
        let mut results = access.share(self.results);
        let hidden = down.rows() / self.experts.n_experts;
        let columns = results.columns().start.min(hidden)..results.columns().end.min(hidden);
        for expert in 0..self.experts.n_experts {
            let (start, assignments) = sorted.of_expert(expert);
            let input = InputRows {
                f32: inner.f32.get(start * inner.f32_stride..).unwrap_or_default(),
                bf16: inner.bf16.get(start * bf16::stride(down.cols())..).unwrap_or_default(),
                int8: inner.int8.get(start * inner.int8_stride..).unwrap_or_default(),
                n_rows: assignments.len(),
                ..inner
            };
            let mut sink = ResultSink { results: &mut results, assignments, first_column: expert * hidden };
            let expert_columns = in_expert(columns.clone(), expert, hidden);
            product(isa, &input, [down], expert_columns, &mut sink, workspace);
        }
        self.combine(isa, access, &mut results);
    }

    fn combine<I: Isa>(&self, isa: I, access: &Access<'_>, results: &mut Share<'_, f32>) {
        let weights = access.read(self.weights);
        let top_k = self.experts.top_k;
        let mut out = self.out.output(access);
        isa.enter(
            #[inline(always)]
            || {
                for (row, weights) in weights.chunks_exact(top_k).enumerate() {
                    let mut row_out = RowWriter {
                        f32: out.f32.as_mut().map(|share| share.row_mut(row)),
                        int8: out.int8.as_mut().map(|share| share.row_mut(row)),
                        store: self.store,
                    };
                    row_out.write(
                        isa,
                        #[inline(always)]
                        |index| {
                            let mut sum = isa.splat(0.0);
                            for (rank, weight) in weights.iter().enumerate() {
                                let result = &results.row(row * top_k + rank).as_chunks::<LANES>().0[index];
                                sum = isa.mul_add(isa.splat(*weight), isa.load(result), sum);
                            }
                            sum
                        },
                    );
                }
            },
        );
    }

    /// Sorts assignments by expert; those of one expert stay in the order of their rows.
    fn sort<'a>(&self, chosen: &[u32], memory: &'a mut [u32]) -> SortedAssignments<'a> {
        let (assignments, starts) = memory.split_at_mut(memory.len() - self.experts.n_experts - 1);
        starts.fill(0);
        // Counting sort: a start is first where the expert's assignments end, and moves back by one for each of them.
        chosen.iter().for_each(|expert| starts[*expert as usize] += 1);
        let mut end = 0;
        for start in starts.iter_mut() {
            end += *start;
            *start = end;
        }
        for (assignment, expert) in chosen.iter().enumerate().rev() {
            let start = &mut starts[*expert as usize];
            *start -= 1;
            assignments[*start as usize] = assignment as u32;
        }
        self.sorted(memory, chosen.len())
    }

    /// What [`MoeFfn::sort`] left in `memory`.
    fn sorted<'a>(&self, memory: &'a [u32], n_assignments: usize) -> SortedAssignments<'a> {
        let (assignments, starts) = memory.split_at(memory.len() - self.experts.n_experts - 1);
        SortedAssignments { assignments: &assignments[..n_assignments], starts }
    }
}

/// The expert of highest value that is not among `chosen`; the lowest index of equals.
pub(super) fn most_probable(values: &[f32], chosen: &[u32]) -> u32 {
    let mut best = None;
    for (expert, &value) in (0_u32..).zip(values) {
        if !chosen.contains(&expert) && best.is_none_or(|(_, most)| most < value) {
            best = Some((expert, value));
        }
    }
    best.map_or(0, |(expert, _)| expert)
}

/// `exp(logit - max)` of vector `index`, zero beyond the experts.
#[inline(always)]
fn exp_vector<I: Isa>(isa: I, logits: &[f32], max: f32, n_experts: usize, index: usize) -> I::F32 {
    let logits = isa.load(&logits.as_chunks::<LANES>().0[index]);
    let exp = math::exp(isa, isa.sub(logits, isa.splat(max)));
    mask_tail(isa, n_experts - index * LANES, exp)
}

/// Rows of an expert multiplied at a time: their indices fit a buffer on the stack.
const ROWS_AT_A_TIME: usize = 512;

/// Columns of one expert's result as rows of the matrix of all experts, each with `n_rows`.
fn in_expert(columns: Range<usize>, expert: usize, n_rows: usize) -> Range<usize> {
    columns.start + expert * n_rows..columns.end + expert * n_rows
}

struct GatedSink<'a, 'o, 's> {
    op: &'a MoeFfn,
    out: &'o mut OutputColumns<'s>,
    first_row: usize,
    first_column: usize,
}

impl Sink<2> for GatedSink<'_, '_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, [gate, up]: [&mut [f32]; 2]) {
        apply_gate(isa, self.op.experts.activation, gate, up);
        let columns = columns.start - self.first_column..columns.end - self.first_column;
        self.out.put(isa, self.first_row + row, &columns, gate, Store::Write);
    }
}

struct ResultSink<'a, 'o, 's> {
    results: &'o mut Share<'s, f32>,
    assignments: &'a [u32],
    first_column: usize,
}

impl Sink<1> for ResultSink<'_, '_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, _isa: I, row: usize, columns: Range<usize>, [values]: [&mut [f32]; 1]) {
        let start = columns.start - self.first_column - self.results.columns().start;
        let out = self.results.row_mut(self.assignments[row] as usize);
        out[start..start + columns.len()].copy_from_slice(&values[..columns.len()]);
    }
}
