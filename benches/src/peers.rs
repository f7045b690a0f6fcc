//! Compares this engine with others: same files, threads and lengths, interleaved, each engine in its own process.
//!
//! A [`Cell`] is one measurement on one model. Its engines are loaded together and run interleaved, A B A B, so that other
//! load affects them equally; a ratio compares measurements taken seconds apart. Engines speak the protocol of
//! `benches/peers/protocol.py`. Missing engines and unsupported tests are part of the result.

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
pub use engines::{
    BASELINE, DEFAULT_THREADS, Engine, FIXED, LLAMA, OURS, PACKED, PEERS, packed_dir, program, sibling,
};
pub use machine::machine;
pub use measure::{Contender, Measurement, Options, Sample, measure};
pub use report::{HEADING, Ratio, baseline_ratio, ratio, ratios_in_short, row};
pub use saved::{Change, Saved, SavedCell};
pub use start::first_token;

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// A model could not be written.
    #[error(transparent)]
    Synth(#[from] crate::synth::SynthError),
    /// A weight format is unknown.
    #[error(transparent)]
    DType(#[from] sm_model::UnknownMixture),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not a saved run.
    #[error("{path} is not a saved run: {source}; make one with --save")]
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
