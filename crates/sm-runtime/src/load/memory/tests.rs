//! What fits and what is refused, on a device that only counts.

use std::sync::Arc;

use sm_kernels::plan::{Executor, PrepareError, Progress, WeightSource, Weights};

use super::*;
use crate::ModelRef;

/// A device with this many bytes left.
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

    fn prepare_loaded(
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
    let limits = |options: &ExecutorOptions, available, weights| {
        executor_limits(&Small(available), &model.plan, options, weights)
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
    let within = |n_pages| {
        let own = options.clone().memory_limit(1024 + n_pages as u64);
        limits(&own, 0, WeightState::NotLoaded).unwrap().n_pages
    };
    assert_eq!(within(3 * n_pages), 3 * n_pages);
    assert_eq!(within(9 * n_pages), 3 * n_pages);
    assert_eq!(within(3 * n_pages - 1), 3 * n_pages - 1, "the pool is made to fit");
    assert_eq!(within(n_pages), n_pages);
    let less = options.memory_limit(1023 + n_pages as u64);
    match limits(&less, u64::MAX, WeightState::NotLoaded) {
        Err(Error::Load(LoadError::InsufficientMemory { bound, .. })) => {
            assert_eq!(bound, MemoryBound::Configured);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages_hold_the_keys_and_values_of_layers_that_differ() {
    let group =
        |n_layers, n_kv_heads, key_dim, value_dim| PageGroup { n_layers, n_kv_heads, key_dim, value_dim };
    let layout = CacheLayout { pages: vec![group(2, 4, 64, 64), group(1, 1, 96, 32)], states: Vec::new() };
    assert_eq!(page_bytes(&layout, KvDType::F16), 16 * 2 * (2 * 4 * 128 + 128));
    assert_eq!(page_bytes(&CacheLayout::default(), KvDType::F32), 0);
    // A byte per value, and a scale per 32 of a head.
    assert_eq!(page_bytes(&layout, KvDType::Q8_0), 16 * (2 * 4 * 2 * (64 + 8) + (96 + 12) + (32 + 4)));
}
