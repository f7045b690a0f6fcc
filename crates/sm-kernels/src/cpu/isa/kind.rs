//! Which instruction sets there are, and the choice of one at run time.
//!
//! [`IsaKind::dispatch`] is the one trampoline from a value to a type: everything below it is generic over [`Isa`] and
//! compiled once for each set, so nothing is dispatched inside a kernel.

use std::fmt;
use std::str::FromStr;

use super::Isa;
#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
#[cfg(target_arch = "x86_64")]
use super::avx512_vnni::Avx512Vnni;
use super::scalar::Scalar;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IsaKind {
    /// Plain Rust, on any processor.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512Vnni,
}

/// A computation that is generic over the instruction set.
pub(crate) trait IsaVisitor {
    /// Its result.
    type Output;
    /// Runs the computation with `isa`.
    fn visit<I: Isa>(self, isa: I) -> Self::Output;
}

/// A name that is not an instruction set's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set {found:?}; known: {}", IsaKind::ALL.map(IsaKind::name).join(", "))]
pub struct UnknownIsa {
    /// The name found.
    pub found: String,
}

impl IsaKind {
    /// Every instruction set, the fastest last.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vnni];

    /// The name in configurations and fingerprints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }

    /// Whether this processor supports it.
    pub fn is_available(self) -> bool {
        struct Nothing;
        impl IsaVisitor for Nothing {
            type Output = ();
            fn visit<I: Isa>(self, _isa: I) {}
        }
        self.try_dispatch(Nothing).is_some()
    }

    /// The sets this processor supports, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| kind.is_available())
    }

    /// The fastest set this processor supports.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Runs `visitor` with the proof value of this instruction set.
    ///
    /// # Panics
    /// If the processor does not support it; check a user's choice by [`IsaKind::is_available`].
    pub(crate) fn dispatch<V: IsaVisitor>(self, visitor: V) -> V::Output {
        self.try_dispatch(visitor).unwrap_or_else(|| panic!("this processor does not support {self}"))
    }

    #[cfg(target_arch = "x86_64")]
    fn try_dispatch<V: IsaVisitor>(self, visitor: V) -> Option<V::Output> {
        match self {
            Self::Scalar => Scalar::detect().map(|isa| visitor.visit(isa)),
            Self::Avx2 => Avx2::detect().map(|isa| visitor.visit(isa)),
            Self::Avx512 => Avx512::detect().map(|isa| visitor.visit(isa)),
            Self::Avx512Vnni => Avx512Vnni::detect().map(|isa| visitor.visit(isa)),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn try_dispatch<V: IsaVisitor>(self, visitor: V) -> Option<V::Output> {
        match self {
            Self::Scalar => Scalar::detect().map(|isa| visitor.visit(isa)),
            Self::Avx2 | Self::Avx512 | Self::Avx512Vnni => None,
        }
    }
}

impl fmt::Display for IsaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IsaKind {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownIsa { found: name.to_owned() })
    }
}
