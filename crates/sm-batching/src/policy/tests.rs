//! What each policy chooses.

use super::*;
use crate::config::{BatchingConfig, BatchingStrategy};

fn requests(lens: &[usize]) -> Vec<RequestShape> {
    lens.iter()
        .map(|&prompt_len| RequestShape { prompt_len, max_len: prompt_len + 20, n_choices: 1 })
        .collect()
}

fn chosen(policy: &dyn BatchPolicy, lens: &[usize], n_slots: usize) -> Vec<usize> {
    let mut chosen = Vec::new();
    policy.select(&BatchInfo::default(), &requests(lens), n_slots, &mut chosen);
    chosen
}

#[test]
fn each_policy_chooses_what_it_documents() {
    let naive = Naive { limits: BatchLimits::tokens(300) };
    let bucketed = Bucketed::new(128, BatchLimits::tokens(300));
    let memory = BatchMemory { fixed_bytes: 100, bytes_per_token: 2 };
    let aware = Naive { limits: BatchLimits::tokens(1000).bytes(580, memory) };
    let continuous = Continuous { limits: BatchLimits::tokens(300).bytes(900, memory) };
    /// Policy, lengths, slots, and what is chosen.
    type Case<'a> = (&'a dyn BatchPolicy, &'a [usize], usize, &'a [usize]);
    let cases: [Case<'_>; 11] = [
        (&naive, &[10, 20, 30], 2, &[0, 1]),
        (&naive, &[10, 100, 100, 1], 8, &[0, 1, 2]),
        (&naive, &[], 8, &[]),
        (&bucketed, &[130, 1, 140, 128], 8, &[0, 2]),
        (&bucketed, &[1, 140, 90, 3], 3, &[0, 2, 3]),
        (&bucketed, &[5, 140, 6], 3, &[0, 2]),
        (&aware, &[60, 100, 70, 1], 8, &[0, 1]),
        (&aware, &[200, 1], 8, &[0]),
        (&Continuous::default(), &[9000, 9000, 1], 2, &[0, 1]),
        (&continuous, &[10, 100, 180, 20], 8, &[0, 1, 2]),
        (&continuous, &[50; 8], 8, &[0, 1, 2, 3, 4]),
    ];
    for (policy, lens, n_slots, expected) in cases {
        assert_eq!(chosen(policy, lens, n_slots), expected, "{policy:?} of {lens:?}");
    }
}

#[test]
fn choices_not_requests_fill_the_slots() {
    let limits = BatchLimits::tokens(1000);
    let policies: [&dyn BatchPolicy; 3] =
        [&Naive { limits }, &Bucketed::new(128, limits), &Continuous { limits }];
    let shape = |n_choices| RequestShape { prompt_len: 10, max_len: 30, n_choices };
    for policy in policies {
        let mut chosen = Vec::new();
        policy.select(&BatchInfo::default(), &[shape(3), shape(1), shape(1)], 4, &mut chosen);
        assert_eq!(chosen, [0, 1], "{policy:?}");
        chosen.clear();
        policy.select(&BatchInfo::default(), &[shape(3), shape(2), shape(1)], 4, &mut chosen);
        assert_eq!(chosen, [0], "{policy:?} does not let a small request overtake a large one");
    }
}

#[test]
fn bucket_boundaries_are_as_documented() {
    let bucketer = Bucketer::new(128);
    let buckets = [1, 128, 129, 256, 257].map(|len| bucketer.bucket(len));
    assert_eq!(buckets, [1, 1, 2, 2, 3]);
    assert_eq!(bucketer.bucket_len(2), 256);
}

#[test]
fn a_request_too_large_for_any_batch_is_refused_with_numbers() {
    let config = BatchingConfig {
        strategy: BatchingStrategy::MemoryAware,
        memory_limit_bytes: Some(1000),
        ..BatchingConfig::default()
    };
    let policy = config.policy(BatchMemory { fixed_bytes: 100, bytes_per_token: 10 });
    assert!(policy.check(&requests(&[70])[0]).is_ok());
    assert_eq!(
        policy.check(&requests(&[71])[0]).unwrap_err().to_string(),
        "the request would make it 1010 but memory_limit_bytes is 1000; shorten the request or raise the limit"
    );
}

#[test]
fn limits_of_continuous_batching_count_what_runs() {
    let memory = BatchMemory { fixed_bytes: 100, bytes_per_token: 2 };
    let running = BatchInfo::of(requests(&[200, 60]));
    let chosen = |limits, lens: &[usize]| {
        let mut chosen = Vec::new();
        Continuous { limits }.select(&running, &requests(lens), 8, &mut chosen);
        chosen
    };
    assert_eq!(chosen(BatchLimits::tokens(300), &[30, 10, 1]), [0, 1]);
    // 300 positions run; 30 + 20 and 10 + 20 more are 380.
    assert_eq!(chosen(BatchLimits::default().bytes(100 + 2 * 380, memory), &[30, 10, 1]), [0, 1]);
    assert_eq!(chosen(BatchLimits::default(), &[30, 10, 1]), [0, 1, 2]);
}

#[test]
fn reports_what_padding_would_cost() {
    let info = BatchInfo::of(requests(&[3, 70, 500]));
    assert_eq!(
        (info.max_len, info.max_positions, info.n_tokens, info.padded_tokens()),
        (500, 520, 573, 1500)
    );
    assert_eq!(info.padding_efficiency_percent(), 38);
    assert_eq!(BatchInfo::default().padding_efficiency_percent(), 100);
}
