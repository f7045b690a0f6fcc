//! Cooperative matrices: small matrices that a subgroup multiplies at once (tensor cores and their like).

use wgpu::{CooperativeScalarType, Features};

/// Strips of a sum, and subgroups that a kernel for few rows gives them to.
const N_STRIPS: u32 = 8;
/// Rows and outputs of a workgroup of the kernel for many rows.
pub(crate) const TILE: u32 = 64;
/// Halves from one line of a tile to the next: a segment, and a gap that spreads lines over the banks of memory.
pub(crate) const LINE: u32 = 40;

/// The cooperative matrices of a device: of halves, with sums in single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrices {
    /// Rows of a matrix, and columns.
    pub(crate) side: u32,
    /// Lanes of the largest subgroup.
    pub(crate) max_subgroup: u32,
}

impl Matrices {
    /// What a device needs for them.
    pub(crate) const FEATURES: Features =
        Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

    /// Those of an adapter. Not Metal's: its language names no sum of two matrices, which the order of sums needs.
    pub(crate) fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let known = adapter.cooperative_matrix_properties();
        let has = |side| {
            known.iter().any(|of| {
                [of.m_size, of.n_size, of.k_size] == [side; 3]
                    && of.ab_type == CooperativeScalarType::F16
                    && of.cr_type == CooperativeScalarType::F32
            })
        };
        let side = [16, 8].into_iter().find(|side| has(*side))?;
        let matrices = Self { side, max_subgroup: info.subgroup_max_size };
        let fits = matrices.few_lanes().max(matrices.many_lanes())
            <= limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x)
            && matrices.few_bytes().max(Self::MANY_BYTES) <= limits.max_compute_workgroup_storage_size;
        let is_usable = info.backend == wgpu::Backend::Vulkan && adapter.features().contains(Self::FEATURES);
        (is_usable && fits).then_some(matrices)
    }

    /// Lanes of the kernel for few rows: a subgroup has a strip.
    pub(crate) fn few_lanes(self) -> u32 {
        N_STRIPS * self.max_subgroup
    }

    /// Lanes of the kernel for many rows: a subgroup has two by two matrices.
    pub(crate) fn many_lanes(self) -> u32 {
        (TILE / (2 * self.side)).pow(2) * self.max_subgroup
    }

    /// Memory of a workgroup for few rows: two tiles for each strip, and its sums.
    fn few_bytes(self) -> u32 {
        N_STRIPS * (2 * 2 * LINE * self.side + 4 * self.side * self.side)
    }

    /// The same for many rows.
    const MANY_BYTES: u32 = 2 * 2 * LINE * TILE + 4 * TILE * TILE;
}

/// Lets wgpu open features that it calls experimental.
#[expect(unsafe_code, reason = "wgpu wants it said that such features may have faults")]
pub(crate) fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: cooperative matrices are the only ones. Kernels stay within the memory that they name, and a driver whose results are
    // wrong fails its test.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
