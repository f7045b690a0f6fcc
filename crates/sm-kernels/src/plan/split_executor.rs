//! An executor made of two: the halves of a plan that was split, each on a device of its own.
//!
//! ```text
//! submit   first: all layers before the cut ──► hidden states of all rows ──► second: the layers after it   (goes on)
//! wait                                                                         second: outputs
//! pages    [first's layers][second's layers], the same page numbers in both; states likewise
//! ```
//!
//! What crosses the cut is one row of the residual per token: 16 kB at a width of 4096, little beside the weights that each
//! token reads. Submitting waits for the first half alone, so that the first device computes step N + 1 while the second
//! computes step N, if the second lets steps be in flight.

use std::ops::Range;

use sm_tensor::{PageId, StateSlot};

use super::Plan;
use super::backend::PrepareError;
use super::batch::{OutputRow, StepBatch, Wanted};
use super::executor::{ExecError, Executor, ExecutorInfo, Limits};
use super::output::StepOutput;
use super::rules::StepRules;

/// Runs the two halves that [`Plan::split`] gives, as if they were one plan.
#[derive(Debug)]
pub struct SplitExecutor {
    first: Box<dyn Executor>,
    second: Box<dyn Executor>,
    info: ExecutorInfo,
    limits: Limits,
    rules: StepRules,
    /// Ops before the cut.
    cut: usize,
    /// Every row of the step.
    all_rows: Vec<OutputRow>,
    residual: StepOutput,
    /// `[n_tokens, width]`
    input: Vec<f32>,
    /// Pages or states of one half.
    bytes: Vec<u8>,
}

impl SplitExecutor {
    /// Joins the executors of the halves of `plan`, which was split at `layer`. Their limits are those that the whole plan's
    /// executor would have, except that the first gives an output for every row: its `max_outputs` is at least `max_tokens`.
    ///
    /// # Errors
    /// If the limits of the two do not go together.
    ///
    /// # Panics
    /// If the plan has no such layer.
    pub fn new(
        plan: &Plan,
        layer: usize,
        first: Box<dyn Executor>,
        second: Box<dyn Executor>,
    ) -> Result<Self, PrepareError> {
        let limits = *second.limits();
        let needed = Limits { max_outputs: first.limits().max_outputs, ..limits };
        if *first.limits() != needed || needed.max_outputs < limits.max_tokens {
            return Err(PrepareError::Unsupported(format!(
                "the halves of a plan need equal limits, and the first an output for every row: {:?} and {limits:?}",
                first.limits()
            )));
        }
        let a = first.info();
        let b = second.info();
        let info = ExecutorInfo {
            kernels: if a.kernels == b.kernels {
                a.kernels.clone()
            } else {
                format!("{} + {}", a.kernels, b.kernels)
            },
            n_workers: a.n_workers + b.n_workers,
            row_group: a.row_group.max(b.row_group),
            max_top_k: b.max_top_k,
            weight_bytes: a.weight_bytes + b.weight_bytes,
            kv_bytes: a.kv_bytes + b.kv_bytes,
            activation_bytes: a.activation_bytes + b.activation_bytes,
        };
        let all_rows = (0..limits.max_tokens as u32).map(|row| OutputRow { row, wanted: Wanted::Hidden });
        Ok(Self {
            first,
            second,
            info,
            limits,
            rules: StepRules::new(plan, limits),
            cut: plan.layer_starts[layer],
            all_rows: all_rows.collect(),
            residual: StepOutput::new(),
            input: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Computes the first half, and gives its result to the second.
    fn submit_halves(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let n_rows = batch.tokens.len();
        self.first.submit(&StepBatch { outputs: &self.all_rows[..n_rows], ..*batch })?;
        self.first.wait(&mut self.residual)?;
        self.input.clear();
        (0..n_rows).for_each(|row| self.input.extend_from_slice(self.residual.hidden(row)));
        self.second.submit(&StepBatch { input: Some(&self.input), ..*batch })
    }

    /// Reads items, each of both halves.
    fn read_items(
        &mut self,
        items: &Items,
        bytes: &mut [u8],
        read: impl Fn(&mut dyn Executor, &mut [u8]) -> Result<(), ExecError>,
    ) -> Result<(), ExecError> {
        items.check(bytes.len())?;
        for (half, executor) in [&mut self.first, &mut self.second].into_iter().enumerate() {
            self.bytes.resize(items.count * items.sizes[half], 0);
            read(executor.as_mut(), &mut self.bytes)?;
            let parts = self.bytes.chunks_exact(items.sizes[half].max(1));
            for (item, part) in bytes.chunks_exact_mut(items.size().max(1)).zip(parts) {
                item[items.part(half)].copy_from_slice(part);
            }
        }
        Ok(())
    }

    /// Overwrites items, each in both halves.
    fn write_items(
        &mut self,
        items: &Items,
        bytes: &[u8],
        write: impl Fn(&mut dyn Executor, &[u8]) -> Result<(), ExecError>,
    ) -> Result<(), ExecError> {
        items.check(bytes.len())?;
        for (half, executor) in [&mut self.first, &mut self.second].into_iter().enumerate() {
            self.bytes.clear();
            for item in bytes.chunks_exact(items.size().max(1)) {
                self.bytes.extend_from_slice(&item[items.part(half)]);
            }
            write(executor.as_mut(), &self.bytes)?;
        }
        Ok(())
    }

    fn pages(&self, count: usize) -> Items {
        Items { what: "pages", count, sizes: [self.first.page_bytes(), self.second.page_bytes()] }
    }

    fn states(&self, count: usize) -> Items {
        Items { what: "states", count, sizes: [self.first.state_bytes(), self.second.state_bytes()] }
    }
}

/// Pages or states as callers have them: for each, the bytes of the first half, then those of the second.
struct Items {
    what: &'static str,
    count: usize,
    /// Bytes in each half.
    sizes: [usize; 2],
}

impl Items {
    fn size(&self) -> usize {
        self.sizes[0] + self.sizes[1]
    }

    /// Where the bytes of a half lie in an item.
    fn part(&self, half: usize) -> Range<usize> {
        let start = if half == 0 { 0 } else { self.sizes[0] };
        start..start + self.sizes[half]
    }

    fn check(&self, n_bytes: usize) -> Result<(), ExecError> {
        let what = self.what;
        let count = self.count;
        let size = self.size();
        if count.checked_mul(size) == Some(n_bytes) {
            return Ok(());
        }
        let reason = format!("{count} {what} of {size} bytes, but {n_bytes} bytes are to be copied");
        Err(ExecError::InvalidBatch { reason })
    }
}

impl Executor for SplitExecutor {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        // By the rules of the whole, so that no half computes what the other would refuse.
        self.rules.check(batch)?;
        self.submit_halves(batch)
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        self.second.wait(output)
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        self.first.copy_pages(from_to)?;
        self.second.copy_pages(from_to)
    }

    fn page_bytes(&self) -> usize {
        self.pages(1).size()
    }

    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError> {
        let items = self.pages(pages.len());
        self.read_items(&items, bytes, |half, bytes| half.read_pages(pages, bytes))
    }

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        let items = self.pages(pages.len());
        self.write_items(&items, bytes, |half, bytes| half.write_pages(pages, bytes))
    }

    fn release_pages(&mut self, pages: &[PageId]) -> Result<(), ExecError> {
        self.first.release_pages(pages)?;
        self.second.release_pages(pages)
    }

    fn copy_states(&mut self, from_to: &[(StateSlot, StateSlot)]) -> Result<(), ExecError> {
        self.first.copy_states(from_to)?;
        self.second.copy_states(from_to)
    }

    fn state_bytes(&self) -> usize {
        self.states(1).size()
    }

    fn n_state_slots(&self) -> usize {
        self.first.n_state_slots().min(self.second.n_state_slots())
    }

    fn read_states(&mut self, slots: &[StateSlot], bytes: &mut [u8]) -> Result<(), ExecError> {
        let items = self.states(slots.len());
        self.read_items(&items, bytes, |half, bytes| half.read_states(slots, bytes))
    }

    fn write_states(&mut self, slots: &[StateSlot], bytes: &[u8]) -> Result<(), ExecError> {
        let items = self.states(slots.len());
        self.write_items(&items, bytes, |half, bytes| half.write_states(slots, bytes))
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        self.rules.check(batch)?;
        let cut = self.cut;
        let n_rows = batch.tokens.len();
        let mut residual = Vec::new();
        let first = StepBatch { outputs: &self.all_rows[..n_rows], ..*batch };
        self.first.trace(&first, &mut |op, values| {
            if op < cut {
                visit(op, values);
            } else {
                residual = values.to_vec();
            }
        })?;
        // The second half begins with an op that the whole does not have: it takes the residual.
        self.second.trace(&StepBatch { input: Some(&residual), ..*batch }, &mut |op, values| {
            if let Some(op) = op.checked_sub(1) {
                visit(cut + op, values);
            }
        })
    }
}
