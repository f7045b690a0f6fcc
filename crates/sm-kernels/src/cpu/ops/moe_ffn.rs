//! A feed-forward of experts: each row goes to a few of them.
//!
//! Four phases: the router's logits (a `Linear`), the choice, the experts' gated products, and their second products
//! with the weighted sum. The rows of an expert are multiplied together.

use std::ops::Range;

use super::linear::gate_values;
use super::math;
use super::product::{Sink, product};
use super::reduce::{mask_tail, sum_vectors};
use crate::cpu::activations::{InputRows, OutputColumns, RowWriter, bf16};
use crate::cpu::arena::{Access, Region};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::ops::product::Scratch;
use crate::cpu::split::Share;
use crate::cpu::step::StepContext;
use crate::plan::{Experts, Store};

/// A feed-forward of experts with its regions. A *pair* is a row and one of its experts, by rank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoeFfn {
    /// `[rows, hidden]`
    pub(crate) x: BufferRegions,
    /// The matrices and how they are chosen.
    pub(crate) experts: Experts,
    /// Replace or add.
    pub(crate) store: Store,
    /// `[rows, hidden]`, by columns.
    pub(crate) out: BufferRegions,
    /// `[rows, n_experts]`: the router's logits.
    pub(crate) logits: Region<f32>,
    /// A row of logits for each worker.
    pub(crate) exps: Region<f32>,
    /// `[rows, top_k]`: the chosen experts, in order of their probability.
    pub(crate) chosen: Region<u32>,
    /// `[rows, top_k]`: their weights.
    pub(crate) weights: Region<f32>,
    /// A row for each worker: the pairs in order of their expert, then `[n_experts + 1]` where each begins.
    pub(crate) order: Region<u32>,
    /// `[pairs, ffn]`: the gated products, in order of the experts, by columns.
    pub(crate) inner: BufferRegions,
    /// `[pairs, hidden]`: the experts' results, in order of the rows, by columns.
    pub(crate) results: Region<f32>,
}

/// The pairs of each expert.
struct Order<'a> {
    pairs: &'a [u32],
    starts: &'a [u32],
}

impl<'a> Order<'a> {
    fn of_expert(&self, expert: usize) -> (usize, &'a [u32]) {
        let start = self.starts[expert] as usize;
        let end = self.starts[expert + 1] as usize;
        (start, &self.pairs[start..end])
    }
}

impl MoeFfn {
    /// Chooses the experts of this worker's rows.
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
                    self.choose_row(isa, (logits, &mut *exps), chosen.row_mut(row), weights.row_mut(row));
                }
            },
        );
    }

    #[inline(always)]
    fn choose_row<I: Isa>(
        &self,
        isa: I,
        (logits, exps): (&[f32], &mut [f32]),
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
            |index, sum| isa.add(exp_vector(isa, logits, (max, n_experts), index), sum),
        );
        for index in 0..n_vectors {
            let values = exps.as_chunks_mut::<LANES>().0;
            isa.store(&mut values[index], exp_vector(isa, logits, (max, n_experts), index));
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

    /// Computes this worker's columns of the gated products.
    pub(crate) fn gated<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        scratch: &mut Scratch,
    ) {
        let mut order = access.share(self.order);
        let order = self.sort(access.read(self.chosen), order.all_mut());
        let [gate, up] = [self.experts.gate, self.experts.up].map(|id| step.weights.matrix(id));
        let x = self.x.input(access);
        let mut out = self.inner.output(access);
        let ffn_size = step.weights.matrix(self.experts.down).cols();
        let mut rows = [0; ROWS_AT_A_TIME];
        for expert in 0..self.experts.n_experts {
            let (start, pairs) = order.of_expert(expert);
            let columns = in_expert(out.columns(ffn_size), expert, ffn_size);
            for (index, pairs) in pairs.chunks(ROWS_AT_A_TIME).enumerate() {
                let rows = &mut rows[..pairs.len()];
                for (row, pair) in rows.iter_mut().zip(pairs) {
                    *row = pair / self.experts.top_k as u32;
                }
                let input = InputRows { n_rows: rows.len(), row_indices: Some(rows), ..x };
                let first_row = start + index * ROWS_AT_A_TIME;
                let first_column = expert * ffn_size;
                let mut sink = GatedSink { op: self, out: &mut out, first_row, first_column };
                product(isa, (&input, [gate, up]), columns.clone(), &mut sink, scratch);
            }
        }
    }

    /// Computes this worker's columns of the experts' results, and their weighted sums.
    pub(crate) fn down<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        scratch: &mut Scratch,
    ) {
        let order = access.read(self.order);
        let order = &order[access.worker().index() * self.order.stride()..][..self.order.stride()];
        let order = self.order(order, access.n_rows(self.chosen) * self.experts.top_k);
        let down = step.weights.matrix(self.experts.down);
        let inner = self.inner.input(access);
        let mut results = access.share(self.results);
        let hidden = down.rows() / self.experts.n_experts;
        let columns = results.columns().start.min(hidden)..results.columns().end.min(hidden);
        for expert in 0..self.experts.n_experts {
            let (start, pairs) = order.of_expert(expert);
            let input = InputRows {
                f32: inner.f32.get(start * inner.f32_stride..).unwrap_or_default(),
                bf16: inner.bf16.get(start * bf16::stride(down.cols())..).unwrap_or_default(),
                int8: inner.int8.get(start * inner.int8_stride..).unwrap_or_default(),
                n_rows: pairs.len(),
                ..inner
            };
            let mut sink = ResultSink { results: &mut results, pairs, first_column: expert * hidden };
            product(isa, (&input, [down]), in_expert(columns.clone(), expert, hidden), &mut sink, scratch);
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

    /// Sorts the pairs by expert; those of an expert stay in the order of their rows.
    fn sort<'a>(&self, chosen: &[u32], memory: &'a mut [u32]) -> Order<'a> {
        let (pairs, starts) = memory.split_at_mut(memory.len() - self.experts.n_experts - 1);
        starts.fill(0);
        // Each start is first where the next expert's begins, and moves back by one for each of its pairs.
        chosen.iter().for_each(|expert| starts[*expert as usize] += 1);
        let mut end = 0;
        for start in starts.iter_mut() {
            end += *start;
            *start = end;
        }
        for (pair, expert) in chosen.iter().enumerate().rev() {
            let start = &mut starts[*expert as usize];
            *start -= 1;
            pairs[*start as usize] = pair as u32;
        }
        self.order(memory, chosen.len())
    }

    fn order<'a>(&self, memory: &'a [u32], n_pairs: usize) -> Order<'a> {
        let (pairs, starts) = memory.split_at(memory.len() - self.experts.n_experts - 1);
        Order { pairs: &pairs[..n_pairs], starts }
    }
}

/// The expert of the highest value that is not chosen yet; the lowest index where there are several.
pub(super) fn most_probable(values: &[f32], chosen: &[u32]) -> u32 {
    let mut best = None;
    for (expert, &value) in (0_u32..).zip(values) {
        if !chosen.contains(&expert) && best.is_none_or(|(_, most)| most < value) {
            best = Some((expert, value));
        }
    }
    best.map_or(0, |(expert, _)| expert)
}

/// `exp(logit - max)` of vector `index`, with zeros after the experts.
#[inline(always)]
fn exp_vector<I: Isa>(isa: I, logits: &[f32], (max, n_experts): (f32, usize), index: usize) -> I::F32 {
    let logits = isa.load(&logits.as_chunks::<LANES>().0[index]);
    let exp = math::exp(isa, isa.sub(logits, isa.splat(max)));
    mask_tail(isa, n_experts - index * LANES, exp)
}

/// Rows whose indices are made at a time.
const ROWS_AT_A_TIME: usize = 512;

/// The rows of an expert in a matrix of all experts.
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
        gate_values(isa, self.op.experts.activation, gate, up);
        let columns = columns.start - self.first_column..columns.end - self.first_column;
        self.out.put(isa, self.first_row + row, &columns, gate, Store::Write);
    }
}

struct ResultSink<'a, 'o, 's> {
    results: &'o mut Share<'s, f32>,
    pairs: &'a [u32],
    first_column: usize,
}

impl Sink<1> for ResultSink<'_, '_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, _isa: I, row: usize, columns: Range<usize>, [values]: [&mut [f32]; 1]) {
        let start = columns.start - self.first_column - self.results.columns().start;
        let out = self.results.row_mut(self.pairs[row] as usize);
        out[start..start + columns.len()].copy_from_slice(&values[..columns.len()]);
    }
}
