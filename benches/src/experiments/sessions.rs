//! The second turn of a conversation: the first is not recomputed, regardless of the number of conversations.

use std::time::Instant;

use sm_runtime::{BatchingConfig, Completion, Engine, EngineConfig, Error, KvCacheConfig, ModelRef};
use sm_tensor::DType;

use super::{DOCUMENTS, ExperimentError, Finding, N_TURNS_PER_REP, RandomModel, greedy, prompt, tokens};
use crate::summary::median;

/// Conversations kept by the engine.
const N_SESSIONS: [usize; 3] = [1, 100, 1000];
/// Tokens of the first turn.
const FIRST_TURNS: [usize; 3] = [64, 256, 1024];
/// Tokens of the second.
const SECOND_TURN: usize = 16;

/// Runs the experiment on the documents' model.
///
/// # Errors
/// If the model cannot be written or run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let model = RandomModel::write(&DOCUMENTS, DType::F32)?;
    let mut conversations = N_SESSIONS
        .into_iter()
        .map(|n_sessions| Conversations::new(&model.path().into(), n_sessions))
        .collect::<Result<Vec<_>, _>>()?;
    // The first turn warms up.
    for turn in 0..=reps * N_TURNS_PER_REP {
        for conversations in &mut conversations {
            conversations.measure()?;
            if turn == 0 {
                conversations.seconds = Default::default();
            }
        }
    }
    conversations.into_iter().map(Conversations::finding).collect()
}

/// An engine with many conversations, and the times of second turns by the length of the first.
#[derive(Debug)]
struct Conversations {
    engine: Engine,
    /// Prompts so far; no two are the same.
    n_prompts: usize,
    seconds: [FirstToken; FIRST_TURNS.len()],
}

/// Seconds to the first token after the same tokens.
#[derive(Clone, Debug, Default)]
struct FirstToken {
    /// As the second turn of a conversation.
    in_session: Vec<f64>,
    /// As one prompt.
    alone: Vec<f64>,
}

impl Conversations {
    /// Starts all conversations, with short turns.
    fn new(model: &ModelRef, n_sessions: usize) -> Result<Self, Error> {
        let config = EngineConfig::new()
            .batching(BatchingConfig::new().max_batch_wait_us(0))
            .cache(KvCacheConfig::new().max_sessions(n_sessions));
        let engine = Engine::builder().config(config).load(model.clone())?;
        let mut conversations = Self { engine, n_prompts: 0, seconds: Default::default() };
        (0..n_sessions).try_for_each(|_| conversations.begin(SECOND_TURN).map(drop))?;
        Ok(conversations)
    }

    /// Runs the first turn of a conversation and returns its name.
    fn begin(&mut self, n_tokens: usize) -> Result<String, Error> {
        let name = format!("conversation {}", self.n_prompts);
        self.turn(&name, n_tokens)?;
        Ok(name)
    }

    fn turn(&mut self, name: &str, n_tokens: usize) -> Result<Completion, Error> {
        let prompt = self.prompt(n_tokens);
        let handle = self.engine.session(name)?.submit(tokens(&prompt), greedy(1))?;
        Ok(handle.wait()?.swap_remove(0))
    }

    fn prompt(&mut self, n_tokens: usize) -> Vec<sm_runtime::TokenId> {
        self.n_prompts += 1;
        prompt(self.n_prompts, n_tokens, DOCUMENTS.vocab_size)
    }

    fn measure(&mut self) -> Result<(), ExperimentError> {
        for (index, first_turn) in FIRST_TURNS.into_iter().enumerate() {
            let name = self.begin(first_turn)?;
            let start = Instant::now();
            let completion = self.turn(&name, SECOND_TURN)?;
            self.seconds[index].in_session.push(start.elapsed().as_secs_f64());
            if completion.usage.cached_tokens < first_turn {
                return Err(ExperimentError::Different { what: format!("the second turn of {name}") });
            }
            // The answer of the first turn is one token.
            let prompt = self.prompt(first_turn + 1 + SECOND_TURN);
            let start = Instant::now();
            self.engine.generate(tokens(&prompt), &greedy(1))?;
            self.seconds[index].alone.push(start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn finding(self) -> Result<Finding, ExperimentError> {
        let told = |(first_turn, FirstToken { in_session, alone }): (usize, FirstToken)| {
            let [in_session, alone] = [in_session, alone].map(|seconds| median(seconds) * 1e3);
            format!("{in_session:.2} ms after {first_turn} tokens ({alone:.2} ms without a session)")
        };
        let told: Vec<_> = FIRST_TURNS.into_iter().zip(self.seconds).map(told).collect();
        Ok(Finding {
            what: format!(
                "Sessions: first token of a second turn of {SECOND_TURN} tokens, {} sessions remembered, 4 layers, 128 \
                 wide, f32",
                self.engine.stats().cache.current_sessions
            ),
            measured: told.join(", "),
            claim: "lower latency for multi-turn; the goal here: whatever the first turn's length, and however many \
                    sessions"
                .to_owned(),
            goals: Vec::new(),
        })
    }
}
