//! Samplers by name, for their order.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A sampler, named as in llama.cpp; see [`SamplingOptions::samplers`](field@crate::SamplingOptions::samplers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SamplerKind {
    /// Repetition, presence and frequency penalties.
    Penalties,
    /// [`DryOptions`](crate::DryOptions).
    Dry,
    /// Top-nσ.
    TopNSigma,
    /// The temperature, fixed or dynamic.
    Temperature,
    /// Top-k.
    TopK,
    /// Locally typical sampling.
    TypicalP,
    /// Top-p.
    TopP,
    /// Min-p.
    MinP,
    /// [`XtcOptions`](crate::XtcOptions).
    Xtc,
}

impl SamplerKind {
    /// All samplers, in the default order.
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::Temperature,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::Temperature => "temperature",
            Self::TopK => "top_k",
            Self::TypicalP => "typ_p",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let normal = name.trim().to_ascii_lowercase().replace('-', "_");
        let normal = match normal.as_str() {
            "temp" => "temperature",
            "typical" | "typical_p" | "typ" => "typ_p",
            "top_nsigma" => "top_n_sigma",
            "nucleus" => "top_p",
            other => other,
        };
        Self::ALL.into_iter().find(|kind| kind.name() == normal).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::validation("samplers", format!("{name:?} is not a sampler; the samplers are {names}"))
        })
    }
}
