//! What kernels need to know of a step beside the rows: derived here, sent to the device, once for all operations.
//!
//! ```text
//! rows          [token rows] of (position, first entry in the page table, token, 0)
//! page_table    pages of all spans, as many as they need
//! output_rows   [output rows]
//! angles        for each rotary embedding [token rows, pairs] of (cosine, sine)
//! ```

use super::device::Gpu;
use crate::plan::{ExecError, Limits, PAGE_LEN, Plan, PrepareError, RopeTable, Rows, StepBatch, StepRules};

/// The tables of a step, here and on the device.
#[derive(Debug)]
pub(crate) struct StepTables {
    rules: StepRules,
    ropes: Vec<RopeTable>,
    host: HostTables,
    /// Bytes that the last step's tables have.
    pub(crate) sent_bytes: u64,
    pub(crate) rows: wgpu::Buffer,
    pub(crate) page_table: wgpu::Buffer,
    pub(crate) output_rows: wgpu::Buffer,
    pub(crate) angles: Vec<wgpu::Buffer>,
}

/// Memory that is reused from step to step.
#[derive(Debug, Default)]
struct HostTables {
    rows: Vec<[u32; 4]>,
    page_table: Vec<u32>,
    output_rows: Vec<u32>,
    angles: Vec<[f32; 2]>,
}

/// Where the token of a row is in the table of rows, in bytes.
pub(crate) const fn token_at(row: u64) -> u64 {
    16 * row + 8
}

/// The extents of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) n_tokens: u32,
    pub(crate) n_outputs: u32,
    /// One beyond the last position of any row.
    pub(crate) max_end: u32,
}

impl Extents {
    /// Rows of a buffer.
    pub(crate) fn of(&self, rows: Rows) -> u32 {
        match rows {
            Rows::Tokens => self.n_tokens,
            Rows::Outputs => self.n_outputs,
        }
    }
}

impl StepTables {
    /// Tables for steps that keep to the rules of a plan and its limits.
    ///
    /// # Errors
    /// If the device refuses the memory.
    pub(crate) fn new(gpu: &Gpu, plan: &Plan, limits: &Limits) -> Result<Self, PrepareError> {
        let what = "the tables of a step";
        let n_pages = Self::max_table_len(plan, limits);
        let buffer = |n_words: usize| gpu.buffer(what, 4 * n_words as u64);
        let angles = plan.ropes.iter().map(|rope| buffer(2 * rope.inv_freq.len() * limits.max_tokens));
        Ok(Self {
            rules: StepRules::new(plan, *limits),
            ropes: plan.ropes.clone(),
            host: HostTables::default(),
            sent_bytes: 0,
            rows: buffer(4 * limits.max_tokens)?,
            page_table: buffer(n_pages)?,
            output_rows: buffer(limits.max_outputs)?,
            angles: angles.collect::<Result<_, _>>()?,
        })
    }

    fn max_table_len(plan: &Plan, limits: &Limits) -> usize {
        plan.context_len.div_ceil(PAGE_LEN).saturating_mul(limits.max_sequences)
    }

    /// Bytes that the tables take on the device.
    pub(crate) fn needed_bytes(plan: &Plan, limits: &Limits) -> usize {
        let pairs: usize = plan.ropes.iter().map(|rope| rope.inv_freq.len()).sum();
        let row_bytes = 16 + 8 * pairs;
        row_bytes * limits.max_tokens + 4 * limits.max_outputs + 4 * Self::max_table_len(plan, limits)
    }

    /// Derives the tables of a step and sends them.
    ///
    /// # Errors
    /// If the batch breaks a rule; nothing is sent then.
    pub(crate) fn set(&mut self, gpu: &Gpu, batch: &StepBatch<'_>) -> Result<Extents, ExecError> {
        self.rules.check(batch)?;
        let host = &mut self.host;
        host.rows.clear();
        host.page_table.clear();
        host.output_rows.clear();
        host.output_rows.extend(batch.outputs.iter().map(|output| output.row));
        let mut max_end = 0;
        for span in batch.spans {
            let end = span.start + span.n_rows;
            max_end = max_end.max(end);
            let first_page = host.page_table.len() as u32;
            let tokens = &batch.tokens[span.first_row as usize..][..span.n_rows as usize];
            host.rows.extend((span.start..end).zip(tokens).map(|(at, token)| [at, first_page, token.0, 0]));
            // Enough for the positions of the span: its later pages are not read.
            let n_pages = (end as usize).div_ceil(PAGE_LEN);
            let pages = &batch.page_table[span.first_page as usize..][..n_pages];
            host.page_table.extend(pages.iter().map(|page| page.0));
        }
        self.sent_bytes = 0;
        let mut send = |buffer: &wgpu::Buffer, bytes: &[u8]| {
            gpu.queue.write_buffer(buffer, 0, bytes);
            self.sent_bytes += bytes.len() as u64;
        };
        send(&self.rows, bytemuck::cast_slice(&host.rows));
        send(&self.page_table, bytemuck::cast_slice(&host.page_table));
        send(&self.output_rows, bytemuck::cast_slice(&host.output_rows));
        for (rope, buffer) in self.ropes.iter().zip(&self.angles) {
            set_angles(rope, batch, &mut host.angles);
            send(buffer, bytemuck::cast_slice(&host.angles));
        }
        let extents = |n: usize| u32::try_from(n).expect("the limits fit 32 bits");
        Ok(Extents {
            n_tokens: extents(batch.tokens.len()),
            n_outputs: extents(batch.outputs.len()),
            max_end,
        })
    }
}

/// `position * inv_freq` in double precision, as on the CPU.
fn set_angles(rope: &RopeTable, batch: &StepBatch<'_>, angles: &mut Vec<[f32; 2]>) {
    angles.clear();
    let scale = f64::from(rope.scale);
    for span in batch.spans {
        let frequencies = rope.frequencies(span.rope_range);
        for position in span.start..span.start + span.n_rows {
            angles.extend(frequencies.iter().map(|frequency| {
                let (sin, cos) = (f64::from(position) * f64::from(*frequency)).sin_cos();
                [(cos * scale) as f32, (sin * scale) as f32]
            }));
        }
    }
}
