//! Mirostat 2 against the plain algorithm.

use proptest::prelude::*;
use sm_tensor::TokenId;

use super::super::{Candidates, Draw, History, MirostatState, SamplerChain, noise};
use crate::{MirostatOptions, SamplingOptions};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn equals_the_plain_algorithm(
        steps in prop::collection::vec(prop::collection::vec((-40i32..40).prop_map(|x| x as f32 / 4.0), 60), 1..20),
        tau in prop::sample::select(vec![0.5f32, 2.0, 5.0]),
        eta in prop::sample::select(vec![0.1f32, 1.0]),
        temperature in prop::sample::select(vec![0.5f32, 1.0, 2.0]),
        seed in any::<u64>(),
    ) {
        let mirostat = MirostatOptions { tau, eta };
        let options = SamplingOptions { mirostat: Some(mirostat), temperature, ..SamplingOptions::default() };
        let chain = SamplerChain::new(&options);
        let (mut counts, mut candidates) = (Vec::new(), Candidates::new());
        let (mut state, mut tokens) = (MirostatState::default(), Vec::new());
        let mut mu = 2.0 * f64::from(tau);
        for logits in steps {
            let draw = Draw { seed, choice: 0, position: tokens.len() as u32 };
            let mut list: Vec<(u32, f64)> =
                (0..).zip(&logits).map(|(token, logit)| (token, f64::from(*logit) / f64::from(temperature))).collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let sum: f64 = list.iter().map(|each| each.1.exp()).sum();
            let surprise = |logit: f64, sum: f64| -(logit.exp() / sum).log2();
            prop_assume!(list.iter().all(|each| (surprise(each.1, sum) - mu).abs() > 1e-7));
            let n_kept = list.iter().take_while(|each| surprise(each.1, sum) <= mu).count().max(1);
            list.truncate(n_kept);
            let value = |&(token, logit): &(u32, f64)| logit + noise(draw, TokenId(token));
            let drawn = *list.iter().max_by(|a, b| value(a).total_cmp(&value(b)).then(b.0.cmp(&a.0))).unwrap();
            let sum: f64 = list.iter().map(|each| each.1.exp()).sum();
            mu -= f64::from(eta) * (surprise(drawn.1, sum) - f64::from(tau));

            let mut history = History::new(&tokens, 0, &mut counts).with_mirostat(&mut state);
            let token = chain.sample(&mut logits.clone(), &mut history, draw, &mut candidates).unwrap();
            prop_assert_eq!(token.0, drawn.0);
            prop_assert!((state.bound(mirostat) - mu).abs() < 1e-9, "{:?} {}", state, mu);
            tokens.push(token);
        }
    }
}
