//! Every op against plain loops, on every instruction set and with one to four workers.
//!
//! A small plan embeds random rows into a buffer and runs the op on it; the trace has its input and output.

mod attention;
mod moe_ffn;
mod rows;

use sm_tensor::{DType, PageId, TokenId};

use crate::cpu::forms::Forms;
use crate::plan::{
    Backend, BufferId, Embed, GatherRows, KvDType, Limits, Linear, MatrixId, MatrixPart, OutputRow, PAGE_LEN,
    Plan, PlanBuilder, Rows, Span, StepBatch,
};
use crate::testing::{RandomWeights, random_values};
use crate::{CpuBackend, IsaKind};

const N_IDS: usize = 61;

const INT8: Forms = Forms { f32: false, int8: true };
const BOTH: Forms = Forms { f32: true, int8: true };

/// A plan that begins with random rows of `width` in a buffer.
struct OpTest {
    builder: PlanBuilder,
    /// The random rows, `f32`.
    x: BufferId,
    width: usize,
    kv_dtype: KvDType,
}

impl OpTest {
    fn new(width: usize) -> Self {
        let mut builder = PlanBuilder::new(700);
        let x = builder.buffer("x", Rows::Tokens, width);
        let mut test = Self { builder, x, width, kv_dtype: KvDType::F32 };
        let table = test.matrix("table", width, &[(N_IDS, DType::F32)]);
        test.builder.push(Embed { table, positions: None, scale: 1.0, out: x });
        test
    }

    fn buffer(&mut self, width: usize) -> BufferId {
        self.builder.buffer("out", Rows::Tokens, width)
    }

    /// Products that read a buffer of `width` in these forms, so that it is written in them.
    fn read_as(&mut self, buffer: BufferId, width: usize, forms: Forms) {
        for (name, dtype, is_read) in
            [("float_reader", DType::F32, forms.f32), ("int8_reader", DType::Q8_0, forms.int8)]
        {
            if is_read {
                let weight = self.matrix(name, width, &[(3, dtype)]);
                let out = self.builder.buffer(name, Rows::Tokens, 3);
                self.builder.push(Linear::new(buffer, weight, out));
            }
        }
    }

    fn matrix(&mut self, name: &str, cols: usize, parts: &[(usize, DType)]) -> MatrixId {
        let part = |(index, &(rows, dtype)): (usize, &(usize, DType))| MatrixPart {
            tensor: format!("{name}.{index}"),
            dtype,
            rows,
        };
        self.builder.matrix(name, cols, parts.iter().enumerate().map(part).collect())
    }

    fn finish(mut self) -> (Plan, KvDType) {
        let logits = self.builder.buffer("logits", Rows::Outputs, self.width);
        self.builder.push(GatherRows { x: self.x, out: logits });
        (self.builder.finish(logits), self.kv_dtype)
    }

    /// Runs spans of these lengths, each from position 0. The outputs of all ops must have the same bits on every
    /// instruction set and team.
    fn run(self, lengths: &[usize]) -> Trace {
        let (plan, kv_dtype) = self.finish();
        let weights = RandomWeights::new(&plan);
        let batch = Batch::new(lengths);
        let n_tokens = lengths.iter().sum();
        let limits = Limits {
            max_tokens: n_tokens,
            max_outputs: n_tokens,
            max_sequences: lengths.len(),
            n_pages: 200,
            kv_dtype,
        };
        let trace = |isa, n_threads| {
            let backend = CpuBackend::new().exact_threads(n_threads).isa(isa);
            let mut executor = backend.prepare(&plan, &weights, limits, &|_| ()).unwrap();
            let mut outputs = Vec::new();
            executor.trace(&batch.step(), &mut |_, values| outputs.push(values.to_vec())).unwrap();
            outputs
        };
        let outputs = trace(IsaKind::Scalar, 1);
        for isa in IsaKind::available() {
            for n_threads in 1..=4 {
                for (op, (actual, expected)) in trace(isa, n_threads).iter().zip(&outputs).enumerate() {
                    let same = actual.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "op {op} of {plan}\n{isa}, {n_threads} threads");
                }
            }
        }
        Trace { outputs, weights, batch }
    }
}

/// A step of whole sequences.
struct Batch {
    tokens: Vec<TokenId>,
    spans: Vec<Span>,
    page_table: Vec<PageId>,
    outputs: Vec<OutputRow>,
}

impl Batch {
    fn new(lengths: &[usize]) -> Self {
        let n_tokens: usize = lengths.iter().sum();
        let tokens = (0..n_tokens).map(|i| TokenId(((i * i * 5 + i) % N_IDS) as u32)).collect();
        let mut spans = Vec::new();
        let mut page_table = Vec::new();
        let mut first_row = 0;
        for &length in lengths {
            let first_page = page_table.len() as u32;
            let n_pages = length.div_ceil(PAGE_LEN) as u32;
            spans.push(Span { first_row, n_rows: length as u32, first_page, n_pages, ..Span::default() });
            first_row += length as u32;
            page_table.extend((first_page..first_page + n_pages).map(|page| PageId(199 - page)));
        }
        let outputs = (0..n_tokens as u32).step_by(2).map(OutputRow::logits).collect();
        Self { tokens, spans, page_table, outputs }
    }

    fn step(&self) -> StepBatch<'_> {
        let Self { tokens, spans, page_table, outputs } = self;
        StepBatch { tokens, spans, page_table, outputs, ..StepBatch::default() }
    }

    /// For each row, the rows of its sequence up to itself.
    fn contexts(&self) -> impl Iterator<Item = std::ops::RangeInclusive<usize>> {
        self.spans.iter().flat_map(|span| {
            let first = span.first_row as usize;
            (first..first + span.n_rows as usize).map(move |row| first..=row)
        })
    }
}

struct Trace {
    /// The output of each op.
    outputs: Vec<Vec<f32>>,
    weights: RandomWeights,
    batch: Batch,
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Compares with a reference; `tolerance` is relative to the largest magnitude.
fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs();
        assert!(error <= tolerance * largest, "{what}: value {index} is {actual}, expected {expected}");
    }
}

/// The vector that [`RandomWeights`] has under this name.
fn random_vector(name: &str, len: usize) -> Vec<f32> {
    random_values(name, len).iter().map(|value| 1.0 + 0.5 * value).collect()
}
