//! The order of logits, and the plain selection by it.
//!
//! Larger logits come first, equal ones by token id, and NaN before all numbers, as NumPy, PyTorch and JAX order them
//! too: broken logits then reach whoever asked, who can tell by the value.

use sm_tensor::TokenId;

/// Whether a logit comes before another one of a lower token id.
fn precedes(a: f32, b: f32) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

/// The first token and its logit.
pub(crate) fn arg_max(logits: &[f32]) -> (TokenId, f32) {
    let mut first = 0;
    for (token, &logit) in logits.iter().enumerate() {
        if precedes(logit, logits[first]) {
            first = token;
        }
    }
    (TokenId(first as u32), logits[first])
}

/// Appends the `k` first tokens and their logits to `top`.
pub(crate) fn top_k(logits: &[f32], k: usize, top: &mut Vec<(TokenId, f32)>) {
    insert(logits, 0, top.len(), k, top);
}

/// Inserts the tokens from `first_token` on into the list of the `k` first that begins at `start` of `top` and has those
/// before them.
pub(crate) fn insert(
    logits: &[f32],
    first_token: usize,
    start: usize,
    k: usize,
    top: &mut Vec<(TokenId, f32)>,
) {
    for (token, &logit) in (first_token as u32..).map(TokenId).zip(logits) {
        let found = &top[start..];
        if found.len() == k && found.last().is_none_or(|&(_, last)| !precedes(logit, last)) {
            continue;
        }
        let place = start + found.partition_point(|&(_, other)| !precedes(logit, other));
        top.truncate(start + k.saturating_sub(1));
        top.insert(place, (token, logit));
    }
}

/// `ln Σ exp(logit)`, summed in order in double precision; NaN if a logit is, infinite if one is +∞ or all are -∞.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if max.is_infinite() {
        return if logits.iter().any(|logit| logit.is_nan()) { f64::NAN } else { max };
    }
    max + logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All tokens in the order of logits, by a stable sort.
    fn sorted(logits: &[f32]) -> Vec<(TokenId, f32)> {
        let mut all: Vec<_> = (0..).map(TokenId).zip(logits.iter().copied()).collect();
        let rank = |logit: f32| (!logit.is_nan(), if logit.is_nan() { 0.0 } else { -logit });
        all.sort_by(|a, b| rank(a.1).partial_cmp(&rank(b.1)).unwrap());
        all
    }

    fn same(a: &[(TokenId, f32)], b: &[(TokenId, f32)]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.to_bits() == b.1.to_bits())
    }

    proptest! {
        #[test]
        fn selections_are_the_head_of_a_stable_sort(
            logits in prop::collection::vec(
                prop::sample::select(vec![
                    0.0, -0.0, 1.0, 2.5, -3.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5000002,
                ]),
                1..60,
            ),
            k in 1_usize..70,
        ) {
            let expected = sorted(&logits);
            let mut top = vec![(TokenId(9), 9.0)];
            top_k(&logits, k, &mut top);
            prop_assert!(same(&top[1..], &expected[..k.min(logits.len())]), "{top:?} of {logits:?}");
            prop_assert!(same(&[arg_max(&logits)], &expected[..1]));
        }
    }

    #[test]
    fn the_sum_of_exponentials_neither_overflows_nor_vanishes() {
        for shift in [0.0, 1e4, -1e4] {
            let exact = f64::from(shift) + (1.0_f64.exp() + 2.0_f64.exp() + 1.0).ln();
            let sum = log_sum_exp(&[shift + 1.0, shift + 2.0, shift]);
            assert!((sum - exact).abs() < 1e-9 * exact.abs().max(1.0), "{sum} for {exact}");
        }
        assert!(log_sum_exp(&[0.0, f32::NAN]).is_nan() && log_sum_exp(&[f32::INFINITY, f32::NAN]).is_nan());
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 3]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[1.0, f32::INFINITY]), f64::INFINITY);
    }
}
