//! Arg-max and the largest logits of rows, for callers that do not want all of them.
//!
//! ```text
//! maxima     the largest logit of each block of 64, in one pass over the row
//! arg-max    the first block with the largest maximum, and in it the first logit that equals it
//! top-k      blocks in order; one whose maximum does not come before the k-th so far holds nothing
//! lse        max + ln Σ exp(logit - max): per block of 1024 in f32, blocks in order in f64
//! ```
//!
//! The pass for the maxima is all that is bound by memory; most blocks are never looked at again. Rows are shared out to the
//! workers, for a batch of sequences has many. A row with a logit that is not finite is rare and broken: it takes the plain
//! way, which has the rules for NaN. The sum of exponentials is the same on every instruction set, for its additions have one
//! fixed order.

use sm_tensor::TokenId;

use super::split::{By, Split};
use super::team::{Team, Worker, WorkerPanic};
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor, LANES};
use crate::cpu::ops::block_maxima::{BLOCK_LEN, scan};
use crate::cpu::ops::math;
use crate::cpu::ops::reduce::sum_vectors;
use crate::plan::{OutputRow, StepOutput, Wanted, select};

/// Logits whose exponentials are added in single precision.
const SUM_LEN: usize = 1024;

/// What was selected of the rows of a step; memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Selections {
    rows: Vec<Selection>,
}

/// What was selected of a row.
#[derive(Debug, Default)]
struct Selection {
    /// The first tokens in the order of logits.
    top: Vec<(TokenId, f32)>,
    log_sum_exp: f64,
    maxima: Vec<f32>,
}

/// The logits of a step: row `i` of `vocab_size` values begins at `i * stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogitRows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) vocab_size: usize,
}

/// Whether a row is selected from.
fn is_selected(wanted: Wanted) -> bool {
    matches!(wanted, Wanted::ArgMax | Wanted::TopK(_))
}

impl Selections {
    /// Selects what `outputs` want, each of up to `n_workers` from some of the rows.
    ///
    /// # Errors
    /// If a worker panics.
    pub(crate) fn select(
        &mut self,
        team: &mut Team,
        n_workers: usize,
        isa: IsaKind,
        outputs: &[OutputRow],
        logits: LogitRows<'_>,
    ) -> Result<(), WorkerPanic> {
        if !outputs.iter().any(|output| is_selected(output.wanted)) {
            return Ok(());
        }
        if self.rows.len() < outputs.len() {
            self.rows.resize_with(outputs.len(), Selection::default);
        }
        let n_workers = n_workers.min(outputs.len());
        let rows = Split::new(&mut self.rows[..outputs.len()], 1, By::Rows(1), n_workers);
        let body = |worker: &Worker<'_>| {
            let mut share = rows.share(worker);
            for index in share.rows() {
                let wanted = outputs[index].wanted;
                if is_selected(wanted) {
                    let row = &logits.values[index * logits.stride..][..logits.vocab_size];
                    isa.dispatch(Select { wanted, logits: row, selection: &mut share.row_mut(index)[0] });
                }
            }
            Ok(())
        };
        team.run_on(n_workers, body).map(|_| ())
    }

    /// Appends what was selected of row `index`, if it was selected from.
    pub(crate) fn push(&self, index: usize, wanted: Wanted, output: &mut StepOutput) {
        match wanted {
            Wanted::ArgMax => {
                let (token, logit) = self.rows[index].top[0];
                output.push_arg_max(token, logit);
            }
            Wanted::TopK(_) => output.push_top(&self.rows[index].top, self.rows[index].log_sum_exp),
            Wanted::Logits | Wanted::Hidden => {}
        }
    }
}

struct Select<'a> {
    wanted: Wanted,
    logits: &'a [f32],
    selection: &'a mut Selection,
}

impl IsaVisitor for Select<'_> {
    type Output = ();

    fn visit<I: Isa>(self, isa: I) {
        let Self { wanted, logits, selection } = self;
        let Selection { top, log_sum_exp, maxima } = selection;
        top.clear();
        maxima.clear();
        maxima.resize(logits.len().div_ceil(BLOCK_LEN), f32::NEG_INFINITY);
        let is_finite = isa.enter(
            #[inline(always)]
            || scan(isa, logits, maxima),
        );
        let k = if let Wanted::TopK(k) = wanted { k as usize } else { 1 };
        if !is_finite {
            select::top_k(logits, k, top);
            *log_sum_exp = select::log_sum_exp(logits);
            return;
        }
        top_k(logits, maxima, k, top);
        if wanted != Wanted::ArgMax {
            *log_sum_exp = isa.enter(
                #[inline(always)]
                || sum_exp(isa, logits, top[0].1),
            );
        }
    }
}

/// The `k` first tokens of finite logits, by the maxima of their blocks.
fn top_k(logits: &[f32], maxima: &[f32], k: usize, top: &mut Vec<(TokenId, f32)>) {
    for (block, (values, &max)) in logits.chunks(BLOCK_LEN).zip(maxima).enumerate() {
        let is_full = top.len() == k;
        if is_full && top.last().is_some_and(|&(_, last)| max <= last) {
            continue;
        }
        select::insert(values, block * BLOCK_LEN, 0, k, top);
    }
}

/// `max + ln Σ exp(logit - max)`
#[inline(always)]
fn sum_exp<I: Isa>(isa: I, logits: &[f32], max: f32) -> f64 {
    let largest = isa.splat(max);
    let mut total = 0.0;
    for block in logits.chunks(SUM_LEN) {
        let (vectors, rest) = block.as_chunks::<LANES>();
        let sum = sum_vectors(
            isa,
            vectors.len(),
            #[inline(always)]
            |index, sum| isa.add(sum, math::exp(isa, isa.sub(isa.load(&vectors[index]), largest))),
        );
        total += f64::from(sum);
        if !rest.is_empty() {
            // Exponentials of the padding are 0.
            let mut padded = [f32::NEG_INFINITY; LANES];
            padded[..rest.len()].copy_from_slice(rest);
            let exps = math::exp(isa, isa.sub(isa.load(&padded), largest));
            total += f64::from(isa.reduce_sum(exps));
        }
    }
    f64::from(max) + total.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random_values;

    /// The selections of rows, the same on every instruction set and team.
    fn selected(rows: &[Vec<f32>], wanted: &[Wanted]) -> StepOutput {
        let vocab_size = rows[0].len();
        let stride = rows[0].len() + 5;
        let mut values = vec![f32::NAN; rows.len() * stride];
        rows.iter()
            .zip(values.chunks_mut(stride))
            .for_each(|(row, to)| to[..vocab_size].copy_from_slice(row));
        let logits = LogitRows { values: &values, stride, vocab_size };
        let outputs: Vec<_> =
            wanted.iter().zip(0..).map(|(&wanted, row)| OutputRow { row, wanted }).collect();
        let select = |isa, n_workers| {
            let mut selections = Selections::default();
            let mut output = StepOutput::new();
            selections.select(&mut Team::new(n_workers).unwrap(), n_workers, isa, &outputs, logits).unwrap();
            wanted.iter().enumerate().for_each(|(row, &wanted)| selections.push(row, wanted, &mut output));
            output
        };
        let expected = select(IsaKind::Scalar, 1);
        for isa in IsaKind::available() {
            for n_workers in 1..=3 {
                let actual = format!("{:?}", select(isa, n_workers));
                assert_eq!(actual, format!("{expected:?}"), "{isa}, {n_workers} workers");
            }
        }
        expected
    }

    fn check(rows: &[Vec<f32>]) {
        let vocab_size = rows[0].len() as u32;
        for k in [1, 2, 7, 64, vocab_size, vocab_size + 1] {
            let wanted: Vec<_> = (0..rows.len())
                .map(|row| if row % 2 == 0 { Wanted::TopK(k) } else { Wanted::ArgMax })
                .collect();
            let actual = selected(rows, &wanted);
            for (index, (row, &wanted)) in rows.iter().zip(&wanted).enumerate() {
                let mut expected = StepOutput::new();
                expected.push_logits(wanted, row);
                if wanted == Wanted::ArgMax {
                    assert_eq!(format!("{:?}", actual.arg_max(index)), format!("{:?}", expected.arg_max(0)));
                    continue;
                }
                assert_eq!(format!("{:?}", actual.top(index)), format!("{:?}", expected.top(0)));
                let actual = actual.log_sum_exp(index);
                let expected = expected.log_sum_exp(0);
                let is_same = (actual.is_nan() && expected.is_nan()) || actual == expected;
                // The additions of a lane within a block, and some units in the last place of each exponential.
                let tolerance = (SUM_LEN / LANES + 8) as f64 * f64::from(f32::EPSILON);
                assert!(is_same || (actual - expected).abs() < tolerance, "{actual} for {expected}");
            }
        }
    }

    #[test]
    fn selections_equal_the_plain_ones() {
        for len in [1, 15, 64, 65, 1000, 1024, 5003] {
            let spread = |scale: f32| -> Vec<f32> {
                random_values("logits", len).iter().map(|value| value * scale).collect()
            };
            let few_levels = random_values("levels", len).iter().map(|value| (value * 3.0).round()).collect();
            let ascending = (0..len).map(|i| i as f32 * 0.01).collect();
            check(&[spread(10.0), few_levels, spread(0.0), spread(80.0), ascending, spread(1e30)]);
        }
    }

    #[test]
    fn rows_that_are_not_finite_keep_the_order_of_logits() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 70, 129] {
                let mut row = random_values("logits", 130);
                row[place] = value;
                row[100] = value;
                check(&[row.clone(), row, vec![value; 130]]);
            }
        }
    }
}
