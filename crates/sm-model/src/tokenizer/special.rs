//! The tokens with a role: where a sequence begins and ends, and where generation ends.

use sm_tensor::TokenId;

use super::TokenizerError;

/// Ids of the tokens with a role.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecialIds {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unknown: Option<TokenId>,
    pub(super) padding: Option<TokenId>,
    /// Ascending, without repetition, after [`SpecialIds::set_end_of_generation`].
    pub(super) end_of_generation: Vec<TokenId>,
}

/// Written forms of tokens that end a turn, a message or a text in the models of this field. Files often name only one
/// end of sequence although the model was trained to stop at others too.
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
    /// Ends generation at `eos`, at the ids that the files `name`d, and at the control tokens of `controls` (id and written
    /// form) that are known to end a turn.
    pub(super) fn set_end_of_generation<'a>(
        &mut self,
        named: impl IntoIterator<Item = TokenId>,
        controls: impl IntoIterator<Item = (TokenId, &'a str)>,
    ) {
        let known: Vec<_> = controls.into_iter().filter(|(_, text)| END_TEXTS.contains(text)).collect();
        // In the Harmony format `<|end|>` closes one message of several; `<|return|>` ends the answer.
        let harmony = known.iter().any(|(_, text)| *text == "<|return|>");
        let known = known.into_iter().filter(|(_, text)| !(harmony && *text == "<|end|>")).map(|(id, _)| id);
        self.end_of_generation = self.eos.into_iter().chain(named).chain(known).collect();
        self.end_of_generation.sort_unstable();
        self.end_of_generation.dedup();
    }

    pub(super) fn check(&self, vocab_size: usize) -> Result<(), TokenizerError> {
        let roles =
            [("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown), ("padding", self.padding)];
        let ends = self.end_of_generation.iter().map(|&id| ("end of generation", Some(id)));
        for (role, id) in roles.into_iter().chain(ends) {
            if let Some(id) = id.filter(|id| id.0 as usize >= vocab_size) {
                return Err(TokenizerError::IdOutOfRange {
                    role: role.to_owned(),
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
    fn generation_ends_at_what_the_files_name_and_at_known_turn_ends() {
        let mut special = SpecialIds { eos: Some(TokenId(7)), ..SpecialIds::default() };
        let controls = [(TokenId(3), "<|im_end|>"), (TokenId(4), "<|im_start|>"), (TokenId(5), "<|end|>")];
        special.set_end_of_generation([TokenId(7), TokenId(1)], controls);
        assert_eq!(special.end_of_generation, [TokenId(1), TokenId(3), TokenId(5), TokenId(7)]);
    }

    #[test]
    fn the_end_of_a_harmony_message_is_not_the_end_of_the_answer() {
        let mut special = SpecialIds::default();
        special.set_end_of_generation([], [(TokenId(3), "<|end|>"), (TokenId(4), "<|return|>")]);
        assert_eq!(special.end_of_generation, [TokenId(4)]);
    }
}
