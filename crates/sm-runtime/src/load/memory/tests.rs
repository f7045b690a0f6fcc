//! What fits and what is refused, on a device that only counts.

use std::sync::Arc;

use sm_kernels::plan::{Executor, PrepareError, Progress, WeightSource, Weights};

use super::super::loaded::KeyShape;
use super::*;
use crate::{KvDType, ModelRef};

/// A device with so many bytes left.
#[derive(Debug)]
struct Small(u64);

impl Backend for Small {
    fn name(&self) -> &'static str {
        "small"
    }

    fn memory_needs(&self, _plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
        Ok(MemoryNeeds { weight_bytes: 1000, kv_bytes: limits.n_pages, activation_bytes: 24 })
    }

    fn available_bytes(&self) -> Option<u64> {
        Some(self.0)
    }

    fn load(
        &self,
        _plan: &Plan,
        _source: &dyn WeightSource,
        _progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<dyn Weights>, PrepareError> {
        Err(PrepareError::Unsupported("it only counts".to_owned()))
    }

    fn prepare(
        &self,
        _plan: &Plan,
        _weights: &Arc<dyn Weights>,
        _limits: Limits,
    ) -> Result<Box<dyn Executor>, PrepareError> {
        Err(PrepareError::Unsupported("it only counts".to_owned()))
    }
}

#[test]
fn what_the_machine_cannot_give_for_one_context_is_refused_unless_a_limit_says_otherwise() {
    let model = ModelRef::Demo.open(&sm_model::LoadOptions::default()).unwrap();
    let n_pages = model.plan.context_len / PAGE_LEN;
    let needed = 1024 + n_pages as u64;
    let shape = KeyShape::new(&model).stored_as(KvDType::F16);
    let limits = |options: &ExecutorOptions, available, weights| {
        executor_limits(&Small(available), &model.plan, shape, options, weights)
    };
    let options = ExecutorOptions::new().n_sequences(3);
    let fits = limits(&options, needed, WeightState::NotLoaded).unwrap();
    assert_eq!(fits.n_pages, 3 * n_pages);
    let error = limits(&options, needed - 1, WeightState::NotLoaded).unwrap_err().to_string();
    for part in ["weights (1000 B)", "activations (24 B)", "the machine has", "quantize to fewer bits"] {
        assert!(error.contains(part), "{error}");
    }
    // Weights that are loaded are not part of what is left.
    limits(&options, needed - 1000, WeightState::Loaded).unwrap();
    limits(&options, needed - 1001, WeightState::Loaded).unwrap_err();
    let own = options.clone().memory_limit(1024 + 3 * n_pages as u64);
    limits(&own, 0, WeightState::NotLoaded).unwrap();
    let less = options.memory_limit(1023 + 3 * n_pages as u64);
    match limits(&less, u64::MAX, WeightState::NotLoaded) {
        Err(Error::Load(LoadError::InsufficientMemory { bound, .. })) => {
            assert_eq!(bound, MemoryBound::Configured);
        }
        other => panic!("{other:?}"),
    }
}
