//! Sizes that suit a device. They decide how fast a result comes, and never which: all kernels of a product give the same bits.

/// Rows up to which a product takes the kernel for few rows, by what its weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) quantized: u32,
    pub(crate) other: u32,
}

impl Default for Sizes {
    /// Those of a device that was not measured.
    fn default() -> Self {
        Self { quantized: 8, other: 8 }
    }
}

impl Sizes {
    /// As [`Sizes::to_text`] writes it.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (quantized, other) = text.trim().split_once(' ')?;
        Some(Self { quantized: quantized.parse().ok()?, other: other.parse().ok()? })
    }

    /// A line of two numbers.
    pub(crate) fn to_text(self) -> String {
        format!("{} {}\n", self.quantized, self.other)
    }
}
