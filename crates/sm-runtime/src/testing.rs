//! A fake executor whose pages hold the tokens themselves, for testing the layers above executors.

mod in_flight;
mod states;
mod watched;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use sm_cache::KvShape;
use sm_kernels::plan::{
    ExecError, Executor, ExecutorInfo, KvDType, Limits, PAGE_LEN, StepBatch, StepOutput, Wanted,
};
use sm_model::tokenizer::{CharTokenizer, Tokenizer, UnknownCharacter};
use sm_tensor::{PageId, StateSlot, TokenId};

use crate::LoadedModel;
use crate::grammar::Grammars;
use states::FakeStates;

pub(crate) use in_flight::two_in_flight;
pub(crate) use watched::{failing, losing, watched};

/// The characters of the fake model's vocabulary.
pub(crate) const CHARACTERS: &str = "\n !.abcdefghijklmnopqrstuvwxyzé";

/// Tokens of the fake model.
pub(crate) const SIZE_OF_VOCABULARY: usize = 31;

/// Shared by all fake models, which have the same vocabulary, so that it is prepared once.
static GRAMMARS: OnceLock<Grammars> = OnceLock::new();

type Predict = Box<dyn Fn(&[TokenId]) -> Vec<f32> + Send>;

/// The spans of each submitted step: first position, number of rows, number of rows with logits.
pub(crate) type Steps = Arc<Mutex<Vec<(u32, usize, usize)>>>;

/// Its logits are a function of the tokens in its pages up to the row, and of the state there.
pub(crate) struct FakeExecutor {
    info: ExecutorInfo,
    limits: Limits,
    pages: Vec<[Option<TokenId>; PAGE_LEN]>,
    states: FakeStates,
    predict: Predict,
    /// The requested outputs of the step, and their logits.
    logits: Vec<(Wanted, Vec<f32>)>,
    steps: Steps,
}

impl fmt::Debug for FakeExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeExecutor").finish_non_exhaustive()
    }
}

/// The size of a fake model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FakeSize {
    pub(crate) context_len: usize,
    pub(crate) max_tokens: usize,
    pub(crate) n_sequences: usize,
}

/// A model over [`CHARACTERS`] whose logits after a history are given by `predict`.
pub(crate) fn fake_model(
    size: FakeSize,
    predict: impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static,
) -> (LoadedModel, Steps) {
    stateful_model(size, 0, predict)
}

/// As [`fake_model`], with a recurrent state per sequence if there are slots: a hash of all tokens so far. A wrong state
/// changes the logits.
pub(crate) fn stateful_model(
    size: FakeSize,
    n_state_slots: usize,
    predict: impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static,
) -> (LoadedModel, Steps) {
    let tokenizer = CharTokenizer::new(CHARACTERS, UnknownCharacter::Error).unwrap();
    let vocab_size = CHARACTERS.chars().count();
    let FakeSize { context_len, max_tokens, n_sequences } = size;
    let n_pages = n_sequences * context_len.div_ceil(PAGE_LEN);
    let steps = Steps::default();
    let executor = FakeExecutor {
        info: ExecutorInfo { kernels: "fake".into(), n_workers: 1, row_group: 1, ..ExecutorInfo::default() },
        limits: Limits {
            max_tokens,
            max_outputs: max_tokens,
            max_sequences: n_sequences,
            n_pages,
            kv_dtype: KvDType::F32,
        },
        pages: vec![[None; PAGE_LEN]; n_pages],
        states: FakeStates::new(n_state_slots),
        predict: Box::new(predict),
        logits: Vec::new(),
        steps: Arc::clone(&steps),
    };
    let kv_shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 4 };
    let tokenizer = Some(Arc::new(tokenizer) as Arc<dyn Tokenizer>);
    let mut model =
        LoadedModel::from_executor(Box::new(executor), tokenizer, vocab_size, context_len, kv_shape);
    model.grammars = GRAMMARS.get_or_init(Grammars::default).clone();
    (model, steps)
}

/// The token of a character.
pub(crate) fn token_of(character: char) -> TokenId {
    let mut characters: Vec<char> = CHARACTERS.chars().collect();
    characters.sort_unstable();
    TokenId(characters.binary_search(&character).unwrap() as u32)
}

/// Logits that make the model write `script`, position by position, from any start.
pub(crate) fn scripted(script: &'static str) -> impl Fn(&[TokenId]) -> Vec<f32> {
    let script: Vec<char> = script.chars().collect();
    move |history| {
        let mut logits = vec![0.0; CHARACTERS.chars().count()];
        logits[token_of(script[history.len() % script.len()]).0 as usize] = 10.0;
        logits
    }
}

/// Logits that look random and depend on the whole history.
pub(crate) fn hashed(history: &[TokenId]) -> Vec<f32> {
    let hash =
        |seed: u64, word: u32| (seed ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let state = history.iter().fold(1, |state, token| hash(state, token.0));
    (0..CHARACTERS.chars().count() as u32).map(|token| (hash(state, token) % 1000) as f32 / 200.0).collect()
}

/// As [`hashed`] of the last three tokens: repetitions continue, as far as sampling allows.
pub(crate) fn recent(history: &[TokenId]) -> Vec<f32> {
    hashed(&history[history.len().saturating_sub(3)..])
}

/// As [`recent`], but [`hashed`] at about every fourth position: repetitive, yet dependent on the whole history.
pub(crate) fn mostly_recent(history: &[TokenId]) -> Vec<f32> {
    let whole = hashed(history);
    if whole[0] < 1.25 { whole } else { recent(history) }
}

impl Executor for FakeExecutor {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        assert!(batch.tokens.len() <= self.limits.max_tokens, "{} rows", batch.tokens.len());
        self.logits.clear();
        let states = self.states.run(batch)?;
        for span in batch.spans {
            self.steps.lock().unwrap().push((span.start, span.n_rows as usize, batch.outputs.len()));
            let table = &batch.page_table[span.first_page as usize..][..span.n_pages as usize];
            for row in 0..span.n_rows {
                let position = (span.start + row) as usize;
                let row = span.first_row + row;
                let page = table[position / PAGE_LEN].0 as usize;
                self.pages[page][position % PAGE_LEN] = Some(batch.tokens[row as usize]);
                let output = batch.outputs.iter().find(|output| output.row == row);
                let Some(output) = output else { continue };
                let slot = |at: usize| self.pages[table[at / PAGE_LEN].0 as usize][at % PAGE_LEN];
                let history: Vec<TokenId> =
                    (0..=position).map(|at| slot(at).expect("written before")).collect();
                let mut logits = (self.predict)(&history);
                if let Some(state) = states.get(row as usize) {
                    states::confuse(&mut logits, *state, &history);
                }
                self.logits.push((output.wanted, logits));
            }
        }
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        self.logits.iter().for_each(|(wanted, logits)| output.push_logits(*wanted, logits));
        Ok(())
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        for (from, to) in from_to {
            self.pages[to.0 as usize] = self.pages[from.0 as usize];
        }
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        PAGE_LEN * size_of::<u32>()
    }

    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError> {
        let tokens = pages.iter().flat_map(|page| &self.pages[page.0 as usize]);
        for (token, bytes) in tokens.zip(bytes.as_chunks_mut().0) {
            *bytes = token.expect("only full pages are read").0.to_le_bytes();
        }
        Ok(())
    }

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        let tokens = bytes.as_chunks().0.iter().map(|bytes| Some(TokenId(u32::from_le_bytes(*bytes))));
        let mut tokens = tokens.into_iter();
        for page in pages {
            self.pages[page.0 as usize].fill_with(|| tokens.next().expect("whole pages"));
        }
        Ok(())
    }

    fn release_pages(&mut self, pages: &[PageId]) -> Result<(), ExecError> {
        // Reading one of them before it is written fails.
        pages.iter().for_each(|page| self.pages[page.0 as usize] = [None; PAGE_LEN]);
        Ok(())
    }

    fn n_state_slots(&self) -> usize {
        self.states.n_slots()
    }

    fn state_bytes(&self) -> usize {
        self.states.state_bytes()
    }

    fn read_states(&mut self, slots: &[StateSlot], bytes: &mut [u8]) -> Result<(), ExecError> {
        self.states.read(slots, bytes)
    }

    fn write_states(&mut self, slots: &[StateSlot], bytes: &[u8]) -> Result<(), ExecError> {
        self.states.write(slots, bytes)
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        _visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        self.submit(batch)
    }
}

/// A temporary directory for a test, removed at its end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("sm-runtime-{process}-{count}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
