//! Sizes an executor's page pool and checks that everything fits into memory, before anything is allocated.
//!
//! ```text
//! needs    = weights + keys and values (n_pages) + activations and scratch
//! n_pages  = n_sequences full contexts, or as many as kv_bytes, pool_bytes and memory_limit allow
//! refused  if the needs of one context > memory_limit, or without a limit, > what the machine has left
//! ```
//!
//! Without a limit only one context counts: further pages become resident on first use, and the cache evicts others for
//! them.

use sm_cache::ByteSize;
use sm_kernels::plan::{
    Backend, CacheLayout, KvDType, Limits, MemoryNeeds, PAGE_LEN, PageGroup, Plan, PrepareError,
};

use super::ExecutorOptions;
use crate::{Error, LoadError, MemoryBound};

/// Whether a plan's weights are already in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeightState {
    Loaded,
    NotLoaded,
}

/// Bytes per page across all layers.
pub(super) fn page_bytes(layout: &CacheLayout, kv_dtype: KvDType) -> u64 {
    let position = |group: &PageGroup| {
        let [key, value] = [group.key_dim, group.value_dim].map(|dim| kv_dtype.head_bytes(dim) as u64);
        let heads = (group.n_layers as u64).saturating_mul(group.n_kv_heads as u64);
        heads.saturating_mul(key.saturating_add(value))
    };
    let position_bytes = layout.pages.iter().map(position).fold(0, u64::saturating_add);
    position_bytes.saturating_mul(PAGE_LEN as u64)
}

/// The limits of a plan's executor.
///
/// # Errors
/// If it does not fit into memory.
pub(super) fn executor_limits(
    backend: &dyn Backend,
    plan: &Plan,
    options: &ExecutorOptions,
    weights: WeightState,
) -> Result<Limits, Error> {
    let max_sequences = options.n_sequences.saturating_add(options.n_reserved_sequences);
    let max_tokens = options.max_step_tokens.max(max_sequences);
    let context_pages = plan.context_len.div_ceil(PAGE_LEN);
    let one_context = Limits {
        max_tokens,
        max_outputs: options.max_outputs.min(max_tokens),
        max_sequences,
        n_pages: context_pages,
        kv_dtype: options.kv_dtype,
    };
    let least = backend.memory_needs(plan, &one_context)?;
    let page_bytes = page_bytes(&plan.cache, options.kv_dtype);
    let n_pages = n_pages(options, context_pages, page_bytes, least.activation_bytes as u64)?;
    let limits = Limits { n_pages, ..one_context };
    let Some(limit) = options.memory_limit else {
        if let Some(available) = backend.available_bytes() {
            // Available memory already excludes loaded weights.
            let resident = if weights == WeightState::Loaded { least.weight_bytes as u64 } else { 0 };
            check(&least, available.saturating_add(resident), MemoryBound::Available)?;
        }
        return Ok(limits);
    };
    check(&least, limit, MemoryBound::Configured)?;
    let needs = |n_pages| backend.memory_needs(plan, &Limits { n_pages, ..limits });
    Ok(Limits { n_pages: most_within(context_pages, limits.n_pages, limit, needs)?, ..limits })
}

/// The most pages, of `least` to `most`, whose needs stay within `limit` bytes; those of `least` do.
fn most_within(
    mut least: usize,
    mut most: usize,
    limit: u64,
    needs: impl Fn(usize) -> Result<MemoryNeeds, PrepareError>,
) -> Result<usize, Error> {
    while least < most {
        let middle = least + (most - least).div_ceil(2);
        if needs(middle)?.total_bytes() as u64 <= limit {
            least = middle;
        } else {
            most = middle - 1;
        }
    }
    Ok(least)
}

/// Pages in the pool, at least the `context_pages` of one full context.
fn n_pages(
    options: &ExecutorOptions,
    context_pages: usize,
    page_bytes: u64,
    activation_bytes: u64,
) -> Result<usize, Error> {
    let pool_bytes = options.pool_bytes.map(|n_bytes| n_bytes.saturating_sub(activation_bytes));
    let contexts = options.n_sequences.saturating_mul(context_pages);
    let Some(limit_bytes) = options.kv_bytes.into_iter().chain(pool_bytes).min() else {
        return Ok(contexts);
    };
    let context_bytes = page_bytes.saturating_mul(context_pages as u64);
    if context_bytes > limit_bytes {
        let needed = ByteSize(context_bytes);
        let what = "keys and values of one context".to_owned();
        let limit = ByteSize(limit_bytes);
        return Err(
            LoadError::InsufficientMemory { what, needed, limit, bound: MemoryBound::Configured }.into()
        );
    }
    let most = match options.kv_bytes {
        Some(_) => u64::from(u32::MAX),
        None => contexts as u64,
    };
    Ok((limit_bytes / page_bytes.max(1)).min(most) as usize)
}

/// Checks memory needs against a limit.
fn check(needs: &MemoryNeeds, limit: u64, bound: MemoryBound) -> Result<(), LoadError> {
    let needed = needs.total_bytes() as u64;
    if needed <= limit {
        return Ok(());
    }
    let [weights, kv, activations] =
        [needs.weight_bytes, needs.kv_bytes, needs.activation_bytes].map(|n_bytes| ByteSize(n_bytes as u64));
    let what = format!("weights ({weights}), keys and values ({kv}) and activations ({activations})");
    Err(LoadError::InsufficientMemory { what, needed: ByteSize(needed), limit: ByteSize(limit), bound })
}

#[cfg(all(test, feature = "demo-model"))]
mod tests;
