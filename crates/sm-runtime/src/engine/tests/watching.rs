//! Engines whose steps are written down, and models whose steps wait for a permit.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sm_tensor::TokenId;

use crate::testing::{token_of, watched};
use crate::{Engine, EngineConfig, LoadedModel};

/// Longer than any test takes: whoever waits this long waits for nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an engine's steps had in them.
#[derive(Debug, Default)]
pub(super) struct Diary {
    /// Rows of each sequence of each step.
    pub(super) steps: Vec<Vec<usize>>,
    /// The first tokens of prompts, in the order in which they were computed.
    pub(super) begun: Vec<TokenId>,
}

impl Diary {
    /// The most sequences of a step.
    pub(super) fn most_sequences(&self) -> usize {
        self.steps.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether prompts began in the order of these first letters.
    pub(super) fn assert_began(&self, letters: &str) {
        assert_eq!(self.begun, letters.chars().map(token_of).collect::<Vec<_>>(), "{letters}");
    }
}

/// An engine whose steps are written down.
pub(super) fn diarist(model: LoadedModel, config: EngineConfig) -> (Engine, Arc<Mutex<Diary>>) {
    let diary = Arc::new(Mutex::new(Diary::default()));
    let writes = Arc::clone(&diary);
    let model = watched(model, move |batch| {
        let mut diary = writes.lock().unwrap();
        diary.steps.push(batch.spans.iter().map(|span| span.n_rows as usize).collect());
        let first = batch.spans.iter().filter(|span| span.start == 0);
        diary.begun.extend(first.map(|span| batch.tokens[span.first_row as usize]));
        true
    });
    (Engine::start(model, config).unwrap(), diary)
}

/// Logits of `predict`, each for a permit. Once whoever gives them is gone, none is needed.
pub(super) fn gated(
    predict: impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static,
) -> (impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static, Sender<()>) {
    let (permits, gate) = mpsc::channel();
    let gated = move |history: &[TokenId]| match gate.recv_timeout(PATIENCE) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => predict(history),
        Err(RecvTimeoutError::Timeout) => panic!("a step waits for a permit that never comes"),
    };
    (gated, permits)
}
