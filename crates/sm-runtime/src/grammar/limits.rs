//! What it may cost to compile a grammar.

#[cfg(feature = "grammar")]
use std::time::Duration;

use sm_tensor::setters;

use crate::Error;

/// Limits on what it may cost to compile a request's [`Grammar`](crate::Grammar).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrammarLimits {
    /// Milliseconds until compiling fails. 2,000 by default.
    pub max_compile_ms: u64,
    /// Maximum length of a schema, grammar or regular expression, in bytes. 1 MiB by default.
    pub max_bytes: usize,
}

impl Default for GrammarLimits {
    fn default() -> Self {
        Self { max_compile_ms: 2_000, max_bytes: 1 << 20 }
    }
}

impl GrammarLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(max_compile_ms: u64, max_bytes: usize);

    /// The time in which a grammar must be compiled; years at most, which any clock can add.
    #[cfg(feature = "grammar")]
    pub(crate) fn compile_time(self) -> Duration {
        Duration::from_millis(self.max_compile_ms.min(u64::from(u32::MAX) * 100))
    }

    /// Validates the values.
    ///
    /// # Errors
    /// If one is 0.
    pub(crate) fn validate(self) -> Result<(), Error> {
        match self {
            Self { max_compile_ms: 0, .. } => Err(Error::validation("grammar.max_compile_ms", ZERO)),
            Self { max_bytes: 0, .. } => Err(Error::validation("grammar.max_bytes", ZERO)),
            Self { .. } => Ok(()),
        }
    }
}

/// Why a limit is refused.
const ZERO: &str = "0 is not allowed; use at least 1";
