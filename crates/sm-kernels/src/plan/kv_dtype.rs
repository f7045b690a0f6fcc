//! How keys and values are stored.

/// How keys and values are stored in the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvDType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision.
    F32,
    /// A byte and, for each 32 values of a head, a scale.
    Q8_0,
}

impl KvDType {
    /// Bytes of the key or the value of one position and head.
    pub const fn head_bytes(self, head_dim: usize) -> usize {
        head_dim.saturating_mul(self.element_bytes()).saturating_add(self.scale_bytes(head_dim))
    }

    pub(crate) const fn element_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::Q8_0 => 1,
        }
    }

    /// Bytes of a head's scales.
    pub(crate) const fn scale_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F16 | Self::F32 => 0,
            Self::Q8_0 => head_dim.div_ceil(32).saturating_mul(size_of::<f32>()),
        }
    }
}
