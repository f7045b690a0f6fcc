//! The backend of scripted models, which has no weights.

use std::fmt;
use std::sync::Arc;

use sm_kernels::plan::{
    Backend, Executor, Limits, MemoryNeeds, Plan, PrepareError, Progress, WeightSource, Weights,
};
use sm_model::tokenizer::Tokenizer;

use super::Script;
use super::executor::ScriptedExecutor;

/// Runs a script instead of a plan.
pub(super) struct ScriptedBackend {
    script: Arc<Script>,
    tokenizer: Arc<dyn Tokenizer>,
}

impl ScriptedBackend {
    pub(super) fn new(script: Arc<Script>, tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self { script, tokenizer }
    }
}

impl fmt::Debug for ScriptedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedBackend").finish_non_exhaustive()
    }
}

/// No weights.
#[derive(Debug)]
struct None;

impl Weights for None {
    fn n_bytes(&self) -> usize {
        0
    }

    fn bytes(&self) -> Vec<&[u8]> {
        Vec::new()
    }
}

impl Backend for ScriptedBackend {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn memory_needs(&self, _plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
        Ok(MemoryNeeds { kv_bytes: limits.n_pages * ScriptedExecutor::PAGE_BYTES, ..MemoryNeeds::default() })
    }

    fn load(
        &self,
        _plan: &Plan,
        _source: &dyn WeightSource,
        _progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<dyn Weights>, PrepareError> {
        Ok(Arc::new(None))
    }

    fn prepare_loaded(
        &self,
        plan: &Plan,
        _weights: &Arc<dyn Weights>,
        limits: Limits,
    ) -> Result<Box<dyn Executor>, PrepareError> {
        let (script, tokenizer) = (Arc::clone(&self.script), Arc::clone(&self.tokenizer));
        Ok(Box::new(ScriptedExecutor::new(script, tokenizer, plan.vocab_size(), limits)))
    }
}
