//! Special tokens: sequence markers, and tokens that end generation.
//!
//! A model's files name one end of sequence, often the wrong one for chats: the turn ends at another token (`<|im_end|>`), and
//! generation would run on. So, as llama.cpp does, tokens whose text is known to end a turn also end generation.

use sm_tensor::TokenId;

use super::{InfillTokens, TokenizerError};

/// The ids of a model's special tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecialIds {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unknown: Option<TokenId>,
    pub(super) padding: Option<TokenId>,
    /// Sorted and distinct once [`SpecialIds::set_end_of_generation`] has run.
    pub(super) end_of_generation: Vec<TokenId>,
    pub(super) infill: InfillTokens,
}

/// Tokens known to end a turn, a message or a text: those of `llama-vocab.cpp` of llama.cpp, and two of its chat templates.
/// Without `</s>`, which is markup in the vocabulary of Gemma; where it ends texts, files declare it as EOS.
const END_TEXTS: [&str; 23] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<EOT>",
    "[EOT]",
    "_<EOT>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
];

/// Whether a token is known by its text to end a turn, a message or a text, and so is a control token whatever a file says.
pub(super) fn is_known_end(text: &str) -> bool {
    END_TEXTS.contains(&text)
}

impl SpecialIds {
    /// Ends generation at `eos`, at the `named` ids that the files declare, and at those of the `marked` tokens (id and text:
    /// all that the files mark as control tokens or as added) that are known to end a turn.
    pub(super) fn set_end_of_generation<'a>(
        &mut self,
        named: impl IntoIterator<Item = TokenId>,
        marked: impl IntoIterator<Item = (TokenId, &'a str)>,
    ) {
        let known: Vec<_> = marked.into_iter().filter(|(_, text)| is_known_end(text)).collect();
        // In OpenAI's Harmony format, and in that of Solar, an answer has several messages: `<|end|>` ends one of them,
        // `<|return|>` or `<|flush|>` the answer.
        let has_messages = known.iter().any(|(_, text)| ["<|return|>", "<|flush|>"].contains(text));
        let goes_on = known.iter().find(|(_, text)| has_messages && *text == "<|end|>").map(|&(id, _)| id);
        let known = known.into_iter().map(|(id, _)| id);
        self.end_of_generation = self.eos.into_iter().chain(named).chain(known).collect();
        self.end_of_generation.retain(|&id| Some(id) != goes_on);
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
        for end in ["<|return|>", "<|flush|>"] {
            special.set_end_of_generation([TokenId(3)], [(TokenId(3), "<|end|>"), (TokenId(4), end)]);
            assert_eq!(special.end_of_generation, [TokenId(4)], "{end}");
        }
    }
}
