//! gpt-nano-sort, a trained GPT-2 of three tokens that sorts six digits.

use sm_runtime::{FinishReason, Prompt, TokenId};

use crate::{data, exact, generator, greedy};

#[test]
fn sorts() {
    let Some(path) = data("models/gpt-nano-sort/hf") else { return };
    let mut generator = generator(&path, &exact(11));
    let n_inputs = 3_u32.pow(6);
    let mut n_sorted = 0;
    for input in 0..n_inputs {
        let digits: Vec<TokenId> = (0..6).map(|place| TokenId(input / 3_u32.pow(place) % 3)).collect();
        let completion = generator.generate(&Prompt::Tokens(digits.clone()), &greedy(6)).unwrap();
        // The context has 11 positions: the last digit is read from the logits behind them.
        assert_eq!((completion.tokens.len(), completion.finish_reason), (5, FinishReason::ContextLimit));
        let context = [digits.clone(), completion.tokens.clone()].concat();
        let mut output = completion.tokens;
        let mut last = TokenId(0);
        let mut visit = |_: usize, logits: &[f32]| {
            last = TokenId((0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32);
        };
        generator.forward(&context, &mut visit).unwrap();
        output.push(last);
        let mut expected = digits;
        expected.sort_unstable();
        n_sorted += u32::from(output == expected);
    }
    // It was trained to do so for every input.
    assert_eq!(n_sorted, n_inputs);
}
