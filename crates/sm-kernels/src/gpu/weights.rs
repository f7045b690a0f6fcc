//! The weights of a plan on the device.

mod layout;
mod pieces;

use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;
use std::sync::Arc;

use super::device::Gpu;
use super::form::{Form, Planes, SEGMENT_LEN};
use crate::plan::{
    MatrixDecl, MatrixId, Plan, PrepareError, Progress, VectorDecl, VectorId, WeightError, WeightSource,
    Weights,
};
use layout::Layout;
use pieces::{Piece, pieces};

/// Bytes of a file that are read, repacked and sent at a time: the driver copies larger pieces more slowly, and what was not
/// sent yet is in memory twice.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks that may be under way.
const MAX_CHUNKS: usize = 8;

/// Consecutive rows of a matrix, in buffers that a kernel can see whole.
#[derive(Debug)]
pub(crate) struct MatrixPiece {
    pub(crate) form: Form,
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// Planes of codes, and scales; what a form lacks is a buffer of nothing.
    pub(crate) planes: [wgpu::Buffer; 3],
}

/// A matrix on the device.
#[derive(Debug)]
pub(crate) struct DeviceMatrix {
    pub(crate) pieces: Vec<MatrixPiece>,
    /// Segments of a row.
    pub(crate) segments: usize,
}

/// Matrices and vectors of a plan.
#[derive(Debug)]
pub(crate) struct DeviceWeights {
    pub(crate) gpu: Arc<Gpu>,
    layout: Layout,
    /// As the layout has them.
    matrices: Vec<DeviceMatrix>,
    /// By their ids.
    vectors: Vec<(Vec<f32>, wgpu::Buffer)>,
    /// A hash of the device and of what was sent to it: the bytes themselves are there alone.
    digest: Vec<u8>,
    n_bytes: usize,
    declared: (Vec<MatrixDecl>, Vec<VectorDecl>),
}

impl Weights for DeviceWeights {
    fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn bytes(&self) -> Vec<&[u8]> {
        vec![&self.digest]
    }
}

impl DeviceWeights {
    /// Reads the weights of `plan` and sends them to the device.
    ///
    /// # Errors
    /// If a weight is missing or has another shape, or the device lacks memory.
    pub(crate) fn load(
        gpu: &Arc<Gpu>,
        plan: &Plan,
        source: &dyn WeightSource,
        progress: &dyn Fn(Progress),
    ) -> Result<Self, PrepareError> {
        let nothing = gpu.buffer("weights", 0)?;
        let total_bytes = plan.matrices.iter().map(MatrixDecl::file_bytes).sum();
        let mut upload = Upload {
            gpu,
            source,
            nothing,
            progress,
            reported: Progress { done_bytes: 0, total_bytes },
            hasher: hasher_of(gpu),
            planes: Planes::default(),
            buffer: Vec::new(),
            n_under_way: 0,
        };
        progress(upload.reported);
        let layout = Layout::of(plan);
        let matrices = layout.decls(plan).map(|decl| upload.matrix(&decl)).collect::<Result<_, _>>()?;
        let vectors = plan.vectors.iter().map(|decl| upload.vector(decl)).collect::<Result<_, _>>()?;
        upload.flush()?;
        Ok(Self {
            gpu: Arc::clone(gpu),
            layout,
            matrices,
            vectors,
            digest: upload.hasher.finish128().as_bytes().to_vec(),
            n_bytes: Self::needed_bytes(plan),
            declared: (plan.matrices.clone(), plan.vectors.clone()),
        })
    }

    /// Bytes that the weights of a plan take.
    pub(crate) fn needed_bytes(plan: &Plan) -> usize {
        let layout = Layout::of(plan);
        let matrices = layout.decls(plan).map(|decl| {
            let parts = decl.parts.iter();
            parts
                .map(|part| Form::of(part.dtype).row_words(decl.cols).n_bytes().saturating_mul(part.rows))
                .sum::<usize>()
        });
        let vectors = plan.vectors.iter().map(|decl| decl.len * size_of::<f32>());
        matrices.chain(vectors).fold(0, usize::saturating_add)
    }

    /// Checks that the weights of a plan are these.
    ///
    /// # Errors
    /// If the plan declares others.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), PrepareError> {
        let (matrices, vectors) = &self.declared;
        if *matrices == plan.matrices && *vectors == plan.vectors && self.layout == Layout::of(plan) {
            return Ok(());
        }
        let reason = format!(
            "they have {} matrices and {} vectors, the plan has {} and {}, or others",
            matrices.len(),
            vectors.len(),
            plan.matrices.len(),
            plan.vectors.len()
        );
        Err(PrepareError::OtherWeights { reason })
    }

    /// A matrix of the plan.
    pub(crate) fn matrix(&self, id: MatrixId) -> &DeviceMatrix {
        &self.matrices[self.layout.lone(id)]
    }

    /// Two matrices of the plan as one, gates first.
    pub(crate) fn pair(&self, gate: MatrixId, up: MatrixId) -> &DeviceMatrix {
        &self.matrices[self.layout.pair(gate, up)]
    }

    /// All buffers with parts of matrices.
    pub(crate) fn planes(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        self.matrices.iter().flat_map(|matrix| &matrix.pieces).flat_map(|piece| &piece.planes)
    }

    /// A vector of the plan, on the device.
    pub(crate) fn vector(&self, id: VectorId) -> &wgpu::Buffer {
        &self.vectors[id.index()].1
    }

    /// A vector of the plan, here.
    pub(crate) fn values(&self, id: VectorId) -> &[f32] {
        &self.vectors[id.index()].0
    }
}

/// Begins with what decides about bits besides the weights: drivers differ in their exponentials, and products in their sums.
fn hasher_of(gpu: &Gpu) -> SipHasher13 {
    let mut hasher = SipHasher13::new();
    hasher.write(format!("{} {} {:?}", gpu.adapter, gpu.int8, gpu.matrices()).as_bytes());
    hasher
}

/// Weights on their way to the device.
struct Upload<'a> {
    gpu: &'a Arc<Gpu>,
    source: &'a dyn WeightSource,
    nothing: wgpu::Buffer,
    progress: &'a dyn Fn(Progress),
    reported: Progress,
    hasher: SipHasher13,
    planes: Planes,
    buffer: Vec<u8>,
    n_under_way: usize,
}

impl Upload<'_> {
    fn matrix(&mut self, decl: &MatrixDecl) -> Result<DeviceMatrix, PrepareError> {
        let pieces = pieces(decl, self.gpu.max_binding_bytes)?;
        let pieces = pieces.iter().map(|piece| self.piece(decl, piece)).collect::<Result<_, _>>()?;
        decl.parts.iter().for_each(|part| self.source.release(&part.tensor));
        Ok(DeviceMatrix { pieces, segments: decl.cols.div_ceil(SEGMENT_LEN) })
    }

    fn piece(&mut self, decl: &MatrixDecl, piece: &Piece) -> Result<MatrixPiece, PrepareError> {
        let words = piece.form.row_words(decl.cols);
        let plane = |row_words: usize| match row_words {
            0 => Ok(self.nothing.clone()),
            n_words => self.gpu.buffer("the weights", 4 * n_words as u64 * piece.rows as u64),
        };
        let planes = [plane(words.low)?, plane(words.high)?, plane(words.scales)?];
        let mut done_rows = 0;
        for (part, rows) in &piece.ranges {
            let part = &decl.parts[*part];
            let row_bytes = part.dtype.row_bytes(decl.cols).ok_or_else(|| WeightError::Unreadable {
                tensor: part.tensor.clone(),
                reason: format!("rows of {} values are no whole blocks of {}", decl.cols, part.dtype),
            })?;
            let step = (CHUNK_BYTES / row_bytes.max(1)).max(1);
            for first in rows.clone().step_by(step) {
                let range = first..rows.end.min(first + step);
                let n_rows = range.len();
                self.planes.clear();
                let mut buffer = std::mem::take(&mut self.buffer);
                let bytes = self.source.matrix_rows(&part.tensor, range, &mut buffer)?;
                for row in bytes.chunks_exact(row_bytes) {
                    piece.form.push_row(part.dtype, row, decl.cols, &mut self.planes);
                }
                self.reported.done_bytes += bytes.len() as u64;
                self.buffer = buffer;
                self.send(&planes, [words.low, words.high, words.scales].map(|n_words| n_words * done_rows))?;
                done_rows += n_rows;
            }
        }
        (self.progress)(self.reported);
        Ok(MatrixPiece { form: piece.form, first_row: piece.first_row, rows: piece.rows, planes })
    }

    /// Sends the repacked rows to their places, in words.
    fn send(&mut self, buffers: &[wgpu::Buffer; 3], at: [usize; 3]) -> Result<(), PrepareError> {
        let planes = [&self.planes.low, &self.planes.high, &self.planes.scales];
        for ((buffer, words), at) in buffers.iter().zip(planes).zip(at) {
            if !words.is_empty() {
                self.hasher.write(bytemuck::cast_slice(words));
                self.gpu.queue.write_buffer(buffer, 4 * at as u64, bytemuck::cast_slice(words));
            }
        }
        self.n_under_way += 1;
        if self.n_under_way < MAX_CHUNKS {
            self.gpu.queue.submit([]);
            return Ok(());
        }
        self.flush()
    }

    /// Waits until everything is sent.
    fn flush(&mut self) -> Result<(), PrepareError> {
        self.n_under_way = 0;
        let submission = self.gpu.queue.submit([]);
        // What is wrong is said by the check.
        let _ = self.gpu.wait(Some(submission));
        self.gpu.check_loading()
    }

    fn vector(&mut self, decl: &VectorDecl) -> Result<(Vec<f32>, wgpu::Buffer), PrepareError> {
        let mut values = Vec::with_capacity(decl.len);
        for part in &decl.parts {
            values.extend(self.source.vector(part)?);
        }
        if values.len() != decl.len {
            let tensor = decl.parts.join(", ");
            return Err(WeightError::Size { tensor, expected: decl.len, actual: values.len() }.into());
        }
        self.hasher.write(bytemuck::cast_slice(&values));
        let buffer = self.gpu.buffer_of("the weights", bytemuck::cast_slice(&values))?;
        Ok((values, buffer))
    }
}
