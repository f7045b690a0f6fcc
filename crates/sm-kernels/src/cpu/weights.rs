//! The weights of a plan, packed by the workers that will read most of them.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;

use super::pack::{Line, MatrixLayout, PackShare, PackedMatrix};
use super::split::{By, Split};
use super::team::{Team, Worker, share_of};
use crate::cpu::isa::LANES;
use crate::plan::{
    ExecError, MatrixDecl, MatrixId, PackedBytes, Plan, PrepareError, Progress, VectorDecl, VectorId,
    WeightError, WeightSource, Weights,
};

/// The name of the form of packed matrices: panels, whatever the instruction set and the number of workers.
const FORM: &str = "cpu panels, bf16 in pairs";

/// A matrix, and its lines among those of all.
type Placed = (MatrixLayout, Range<usize>);

/// Matrices and vectors by their ids.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    /// The lines of all matrices, one after the other.
    memory: Memory,
    matrices: Vec<Placed>,
    vectors: Vec<Vec<f32>>,
    /// What they were made for.
    declared: (Vec<MatrixDecl>, Vec<VectorDecl>),
}

impl Weights for PackedWeights {
    fn n_bytes(&self) -> usize {
        let vectors = self.vectors.iter().map(|vector| size_of_val(vector.as_slice()));
        self.matrix_bytes() + vectors.sum::<usize>()
    }

    fn bytes(&self) -> Vec<&[u8]> {
        let vectors = self.vectors.iter().map(|vector| bytemuck::cast_slice(vector));
        std::iter::once(self.memory.bytes()).chain(vectors).collect()
    }

    fn check_intact(&self) -> Result<(), ExecError> {
        match &self.memory {
            Memory::Own(_) => Ok(()),
            Memory::Kept(bytes) => bytes.check().map_err(|reason| ExecError::WeightsLost { reason }),
        }
    }
}

/// Where packed matrices lie.
#[derive(Debug)]
enum Memory {
    /// In memory of their own.
    Own(MmapMut),
    /// Where the source keeps them.
    Kept(PackedBytes),
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(memory) => memory,
            Self::Kept(bytes) => bytes.bytes(),
        }
    }
}

impl PackedWeights {
    /// Reads and packs the weights of `plan`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape, or memory is short.
    pub(crate) fn load(
        plan: &Plan,
        source: &dyn WeightSource,
        team: &mut Team,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, PrepareError> {
        let (matrices, matrix_bytes) = layouts(plan)?;
        let kept = source.packed(FORM, matrix_bytes).filter(|kept| is_usable(kept, matrix_bytes));
        let memory = match kept {
            Some(kept) => Memory::Kept(kept),
            None => {
                let mut memory = reserve(matrix_bytes)?;
                pack(plan, &matrices, &mut memory, source, team, progress)?;
                source.keep_packed(FORM, &memory);
                Memory::Own(memory)
            }
        };
        let vectors = plan.vectors.iter().map(|decl| load_vector(decl, source));
        let vectors = vectors.collect::<Result<_, WeightError>>()?;
        Ok(Self { memory, matrices, vectors, declared: (plan.matrices.clone(), plan.vectors.clone()) })
    }

    /// Checks that the weights of a plan are these.
    ///
    /// # Errors
    /// If the plan declares others.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), PrepareError> {
        let (matrices, vectors) = &self.declared;
        let differs = |what: &str, own: usize, other: usize, first: Option<usize>| {
            let at = first
                .map_or_else(String::new, |index| format!(", and the first that differs is number {index}"));
            Err(PrepareError::OtherWeights {
                reason: format!("they have {own} {what}, the plan has {other}{at}"),
            })
        };
        if *matrices != plan.matrices {
            let first = matrices.iter().zip(&plan.matrices).position(|(a, b)| a != b);
            return differs("matrices", matrices.len(), plan.matrices.len(), first);
        }
        if *vectors != plan.vectors {
            let first = vectors.iter().zip(&plan.vectors).position(|(a, b)| a != b);
            return differs("vectors", vectors.len(), plan.vectors.len(), first);
        }
        Ok(())
    }

    /// What the weights of a plan take: bytes, and [`PackedWeights::max_cols`].
    ///
    /// # Errors
    /// If a row is no whole number of blocks, or a size overflows.
    pub(crate) fn needs(plan: &Plan) -> Result<(usize, usize), PrepareError> {
        let vectors = plan.vectors.iter().map(|decl| decl.len.next_multiple_of(LANES) * size_of::<f32>());
        let (matrices, matrix_bytes) = layouts(plan)?;
        Ok((matrix_bytes.saturating_add(vectors.sum()), max_cols(&matrices)))
    }

    /// A matrix of the plan.
    pub(crate) fn matrix(&self, id: MatrixId) -> PackedMatrix<'_> {
        self.packed(&self.matrices[id.index()])
    }

    fn packed<'a>(&'a self, (layout, lines): &'a Placed) -> PackedMatrix<'a> {
        layout.over(&bytemuck::cast_slice(self.memory.bytes())[lines.clone()])
    }

    /// A vector of the plan, padded with zeros to whole vectors.
    pub(crate) fn vector(&self, id: VectorId) -> &[f32] {
        &self.vectors[id.index()]
    }

    /// The columns of the widest matrix.
    pub(crate) fn max_cols(&self) -> usize {
        max_cols(&self.matrices)
    }

    /// Bytes of all matrices.
    pub(crate) fn matrix_bytes(&self) -> usize {
        self.memory.bytes().len()
    }

    /// Reads every byte that a worker packed, and nothing else: all matrices, in order.
    #[inline(always)]
    pub(crate) fn checksum(&self, worker: usize, n_workers: usize) -> u64 {
        let share = |matrix: &PackedMatrix<'_>| share_of(worker, n_workers, matrix.rows(), LANES);
        let matrices = self.matrices.iter().map(|matrix| self.packed(matrix));
        matrices.fold(0, |sum, matrix| sum ^ matrix.checksum(share(&matrix)))
    }
}

/// The matrices of a plan with their lines, one after the other, and the bytes of all.
fn layouts(plan: &Plan) -> Result<(Vec<Placed>, usize), PrepareError> {
    let mut matrices = Vec::with_capacity(plan.matrices.len());
    let mut n_lines = 0;
    for decl in &plan.matrices {
        let layout = MatrixLayout::new(decl)?;
        let lines = n_lines..layout.n_lines().saturating_add(n_lines);
        n_lines = lines.end;
        matrices.push((layout, lines));
    }
    Ok((matrices, n_lines.saturating_mul(size_of::<Line>()).max(size_of::<Line>())))
}

/// As [`PackedWeights::max_cols`].
fn max_cols(matrices: &[Placed]) -> usize {
    matrices.iter().map(|(layout, _)| layout.cols()).max().unwrap_or(0)
}

/// Whether kept bytes can be read as lines.
fn is_usable(kept: &PackedBytes, n_bytes: usize) -> bool {
    let bytes = kept.bytes();
    bytes.len() == n_bytes && bytemuck::try_cast_slice::<u8, Line>(bytes).is_ok()
}

/// Memory of zeros for all matrices, in large pages where the system gives them: every byte of it will be used, and a page
/// at a time costs more than what is read from a file.
fn reserve(needed_bytes: usize) -> Result<MmapMut, PrepareError> {
    let memory = MmapMut::map_anon(needed_bytes)
        .map_err(|_| PrepareError::OutOfMemory { what: "the weights", needed_bytes })?;
    #[cfg(target_os = "linux")]
    {
        // A kernel without large pages refuses, and nothing is lost.
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    Ok(memory)
}

/// Reads all matrices and writes their panels into `memory`. Workers do not wait for each other between matrices: the system,
/// which gives the memory, is not equally quick to all.
fn pack(
    plan: &Plan,
    matrices: &[Placed],
    memory: &mut MmapMut,
    source: &dyn WeightSource,
    team: &mut Team,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), PrepareError> {
    let n_workers = team.n_workers();
    let mut lines: &mut [Line] = bytemuck::cast_slice_mut(memory);
    let mut shares = Vec::with_capacity(matrices.len());
    for (layout, range) in matrices {
        let own;
        (own, lines) = lines.split_at_mut(range.len());
        let rows = (0..n_workers).map(|worker| share_of(worker, n_workers, layout.rows(), LANES));
        shares.push(layout.shares(own, &rows.collect::<Vec<_>>()));
    }
    let packings = plan.matrices.iter().zip(&mut shares);
    let packings: Vec<_> = packings.map(|(decl, shares)| Packing::new(decl, shares, n_workers)).collect();
    let total_bytes = plan.matrices.iter().map(MatrixDecl::file_bytes).sum();
    let done_bytes = AtomicU64::new(0);
    // One at a time, so that what is reported only grows.
    let reporting = Mutex::new(());
    let report = || {
        let _turn = reporting.lock().unwrap_or_else(PoisonError::into_inner);
        progress(Progress { done_bytes: done_bytes.load(Ordering::Relaxed), total_bytes });
    };
    report();
    let errors = Mutex::new(Vec::new());
    let packed = team.run(|worker| {
        let mut buffer = Vec::new();
        for (index, packing) in packings.iter().enumerate() {
            match packing.run(worker, source, &mut buffer, &done_bytes) {
                Ok(true) => report(),
                Ok(false) => {}
                Err(error) => {
                    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
                    errors.push((index, worker.index(), error));
                    break;
                }
            }
        }
        Ok(())
    });
    if let Err(panic) = packed {
        let unfinished = packings.iter().find(|packing| packing.n_working.load(Ordering::Acquire) > 0);
        let tensor = unfinished.map_or_else(String::new, |packing| packing.decl.name.clone());
        let reason = format!("packing it failed: {}", panic.message);
        return Err(WeightError::Unreadable { tensor, reason }.into());
    }
    // Always the same one, whichever worker finished first.
    let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    let first = errors.into_iter().min_by_key(|&(index, worker, _)| (index, worker));
    first.map_or(Ok(()), |(_, _, error)| Err(error))
}

/// A matrix that workers pack, each its share.
struct Packing<'a> {
    decl: &'a MatrixDecl,
    split: Split<'a, PackShare<'a>>,
    /// Workers that have not packed their share.
    n_working: AtomicUsize,
}

impl<'a> Packing<'a> {
    fn new(decl: &'a MatrixDecl, shares: &'a mut [PackShare<'a>], n_workers: usize) -> Self {
        let split = Split::new(shares, 1, By::Rows(1), n_workers);
        Self { decl, split, n_working: AtomicUsize::new(n_workers) }
    }

    /// Packs a worker's share. Returns whether it was the last one.
    fn run(
        &self,
        worker: &Worker<'_>,
        source: &dyn WeightSource,
        buffer: &mut Vec<u8>,
        done_bytes: &AtomicU64,
    ) -> Result<bool, PrepareError> {
        for share in self.split.share(worker).all_mut() {
            share.pack(source, buffer, done_bytes)?;
        }
        let is_last = self.n_working.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            // So that the file's pages never stand beside all of the packed ones.
            self.decl.parts.iter().for_each(|part| source.release(&part.tensor));
        }
        Ok(is_last)
    }
}

fn load_vector(decl: &VectorDecl, source: &dyn WeightSource) -> Result<Vec<f32>, WeightError> {
    let mut values = Vec::with_capacity(decl.len.next_multiple_of(LANES));
    for part in &decl.parts {
        values.extend(source.vector(part)?);
    }
    if values.len() != decl.len {
        return Err(WeightError::Size {
            tensor: decl.parts.join(", "),
            expected: decl.len,
            actual: values.len(),
        });
    }
    values.resize(decl.len.next_multiple_of(LANES), 0.0);
    Ok(values)
}
