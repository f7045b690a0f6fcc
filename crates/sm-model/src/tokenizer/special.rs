//! Special tokens: sequence markers, and tokens that end generation.
//!
//! A model's files declare one end of sequence, often the wrong one for chats: a turn ends with another token
//! (`<|im_end|>`), and generation would run on. So, as in llama.cpp, control tokens whose text is known to end a turn also
//! end generation.

use sm_tensor::TokenId;

use super::TokenizerError;

/// The ids of a model's special tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecialIds {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unknown: Option<TokenId>,
    pub(super) padding: Option<TokenId>,
    /// Sorted and distinct once [`SpecialIds::set_end_of_generation`] has run.
    pub(super) end_of_generation: Vec<TokenId>,
}

/// Tokens known to end a turn, a message or a text.
const END_TEXTS: [&str; 16] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<EOT>",
    "[EOT]",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
];

impl SpecialIds {
    /// Ends generation at `eos`, at the `named` ids declared in the files, and at those `controls` (id and text of control
    /// tokens) that are known to end a turn.
    pub(super) fn set_end_of_generation<'a>(
        &mut self,
        named: impl IntoIterator<Item = TokenId>,
        controls: impl IntoIterator<Item = (TokenId, &'a str)>,
    ) {
        let known: Vec<_> = controls.into_iter().filter(|(_, text)| END_TEXTS.contains(text)).collect();
        // In OpenAI's Harmony format an answer has several messages: `<|end|>` ends a message, `<|return|>` the answer.
        let harmony = known.iter().any(|(_, text)| *text == "<|return|>");
        let known = known.into_iter().filter(|(_, text)| !(harmony && *text == "<|end|>")).map(|(id, _)| id);
        self.end_of_generation = self.eos.into_iter().chain(named).chain(known).collect();
        self.end_of_generation.sort_unstable();
        self.end_of_generation.dedup();
    }

    /// Checks that every id is within the vocabulary.
    pub(super) fn check(&self, vocab_size: usize) -> Result<(), TokenizerError> {
        let tokens =
            [("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown), ("padding", self.padding)];
        let ends = self.end_of_generation.iter().map(|&id| ("end of generation", Some(id)));
        for (token, id) in tokens.into_iter().chain(ends) {
            if let Some(id) = id.filter(|id| id.0 as usize >= vocab_size) {
                return Err(TokenizerError::IdOutOfRange {
                    token: token.to_owned(),
                    id: u64::from(id.0),
                    vocab_size,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_ends_at_declared_tokens_and_at_known_ends_of_turns() {
        let mut special = SpecialIds { eos: Some(TokenId(7)), ..SpecialIds::default() };
        let controls = [(TokenId(3), "<|im_end|>"), (TokenId(4), "<|im_start|>"), (TokenId(5), "<|end|>")];
        special.set_end_of_generation([TokenId(7), TokenId(1)], controls);
        assert_eq!(special.end_of_generation, [TokenId(1), TokenId(3), TokenId(5), TokenId(7)]);
    }

    #[test]
    fn a_harmony_message_may_end_before_the_answer() {
        let mut special = SpecialIds::default();
        special.set_end_of_generation([], [(TokenId(3), "<|end|>"), (TokenId(4), "<|return|>")]);
        assert_eq!(special.end_of_generation, [TokenId(4)]);
    }
}
