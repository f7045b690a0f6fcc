//! Tests of the estimates, with the documented values.

use super::*;
use crate::config::KvShape;

const SMALL: MemoryEstimator =
    MemoryEstimator { n_params: 10_000, hidden_size: 32, n_layers: 3, n_heads: 4, vocab_size: 256 };

#[test]
fn sessions_and_engines_have_the_documented_sizes() {
    assert_eq!(SMALL.kv_bytes(512), Ok(393_216));
    assert_eq!(SMALL.session_bytes(512), Ok(633_920));
    assert_eq!(SMALL.engine_bytes(512, 10), Ok(5_979_200));
    assert_eq!(SMALL.engine_bytes(512, 1), SMALL.session_bytes(512));
    assert_eq!(SMALL.kv_bytes(1024).unwrap(), 2 * SMALL.kv_bytes(512).unwrap(), "linear in the context");
    assert_eq!(SMALL.kv_bytes(0), Err(EstimateError::Zero { field: "context_len" }));
    assert_eq!(
        MemoryEstimator { n_heads: 0, ..SMALL }.session_bytes(1),
        Err(EstimateError::Zero { field: "n_heads" })
    );
}

#[test]
fn batches_have_the_documented_sizes() {
    let gpt2 = MemoryEstimator { hidden_size: 768, n_layers: 12, n_heads: 12, ..SMALL };
    let batch = BatchSize { n_sequences: 4, n_tokens: 512, element_bytes: 2 };
    assert_eq!(gpt2.batch_bytes(batch), Ok(226_492_416));

    let llama = MemoryEstimator { hidden_size: 4096, n_layers: 32, n_heads: 32, ..SMALL };
    let one = BatchSize { n_sequences: 1, n_tokens: 2048, element_bytes: 2 };
    let limit_bytes = 8192 << 20;
    assert_eq!(llama.optimal_batch_size(one, limit_bytes, 64), 2);
    assert_eq!(llama.optimal_batch_size(one, limit_bytes, 1), 1);
    assert_eq!(llama.optimal_batch_size(one, 0, 64), 0);
    assert_eq!(llama.optimal_batch_size(one, limit_bytes, u64::MAX), 2);
}

#[test]
fn sizes_beyond_64_bits_are_errors() {
    assert_eq!(
        MemoryEstimator { n_params: u64::MAX, ..SMALL }.session_bytes(1),
        Err(EstimateError::Overflow)
    );
    assert_eq!(SMALL.kv_bytes(u64::MAX), Err(EstimateError::Overflow));
    let batch = BatchSize { n_sequences: 1, n_tokens: u64::MAX, element_bytes: 2 };
    assert_eq!(SMALL.batch_bytes(batch), Err(EstimateError::Overflow));
}

#[test]
fn a_plan_counts_whole_pages_of_key_and_value_heads() {
    let shape = KvShape { n_layers: 22, n_kv_heads: 4, head_bytes: 128 };
    let plan = MemoryPlan {
        weight_bytes: 600 << 20,
        workspace_bytes: 8 << 20,
        n_sequences: 4,
        context_len: 1000,
        pool: PagePool::new(0, 16, shape),
    };
    let page_bytes = 2 * 22 * 4 * 64 * 2 * 16;
    assert_eq!(plan.n_pages(), Ok(4 * 63));
    assert_eq!(plan.kv_bytes(), Ok(4 * 63 * page_bytes));
    let total = plan.total_bytes().unwrap();
    assert_eq!(total, (608 << 20) + 4 * 63 * page_bytes);
    assert_eq!((plan.max_sequences(total), plan.max_sequences(total - 1), plan.max_sequences(0)), (4, 3, 0));
    assert_eq!(
        plan.to_string(),
        "weights       600.00 MB\nworkspace       8.00 MB\nKV cache       86.63 MB  (4 × 1000 tokens)\ntotal         694.63 MB"
    );
    let stateful = MemoryPlan { pool: plan.pool.with_states(8, 1 << 20), ..plan };
    assert_eq!(stateful.total_bytes(), Ok(total + (8 << 20)));
    assert_eq!((stateful.max_sequences(total + (8 << 20)), stateful.max_sequences(total)), (4, 3));
    let few_slots = MemoryPlan { pool: plan.pool.with_states(2, 1), ..plan };
    assert_eq!(few_slots.max_sequences(u64::MAX), 2);
    let states_only =
        MemoryPlan { pool: PagePool::from_page_bytes(0, 16, 0).with_states(8, 1 << 20), ..plan };
    assert_eq!((states_only.max_sequences(616 << 20), states_only.max_sequences((616 << 20) - 1)), (8, 0));
    assert!(stateful.to_string().contains("\nstates          8.00 MB\nKV cache"), "{stateful}");
}
