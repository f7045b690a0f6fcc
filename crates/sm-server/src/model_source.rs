//! Where models come from that clients ask for and the server does not have.

use std::fmt;
use std::ops::ControlFlow;

use sm_runtime::ModelSpec;

/// Finds or fetches models that clients ask for by name, with `POST /api/pull`.
pub trait ModelSource: fmt::Debug + Send + Sync {
    /// Fetches what is missing of a model, and says how to load it. Blocks, and ends early once `report` says so.
    ///
    /// # Errors
    /// If there is no such model, or it cannot be fetched.
    fn pull(
        &self,
        name: &str,
        report: &mut dyn FnMut(PullProgress<'_>) -> ControlFlow<()>,
    ) -> Result<ModelSpec, PullError>;
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullProgress<'a> {
    /// The file that is being fetched.
    pub file: &'a str,
    /// Bytes of all files that are there.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// Why a model could not be pulled. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// There is no model of this name.
    #[error("{0}")]
    Unknown(String),
    /// It could not be fetched.
    #[error("{0}")]
    Failed(String),
}
