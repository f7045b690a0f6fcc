//! This engine beside others: the same files, threads and lengths, in turns, each engine in a process of its own.
//!
//! A [`Cell`] is one thing to measure on one model. Its engines are loaded together and take turns, A B A B, so that whatever
//! else the machine does meets all of them; a figure is a ratio of two that lie seconds apart. An engine speaks the
//! protocol of `benches/peers/protocol.py`. What an engine cannot do, and an engine that is missing, is part of the result.

mod calibrate;
mod cells;
mod child;
mod engines;
mod machine;
mod measure;
mod report;
mod saved;
mod start;

pub use calibrate::{Calibration, Calibrator};
pub use cells::{Cell, Model, Peer, Test, cells};
pub use child::{Answer, Child, Request};
pub use engines::{Engine, OURS, PACKED, PEERS, packed_dir};
pub use machine::machine;
pub use measure::{Contender, Measurement, Options, Sample, measure};
pub use report::{HEADING, Ratio, ratio, row};
pub use saved::{Saved, SavedCell};
pub use start::first_token;

/// Why a comparison has no result.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// A model could not be written.
    #[error(transparent)]
    Synth(#[from] crate::synth::SynthError),
    /// A type of weights is unknown.
    #[error(transparent)]
    DType(#[from] sm_tensor::UnknownDType),
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no saved run.
    #[error("{path} is no saved run: {source}; make one with --save")]
    NotSaved {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl PeersError {
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        |source| Self::File { path, source }
    }
}
