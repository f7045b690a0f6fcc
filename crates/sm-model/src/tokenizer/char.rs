//! Character-level tokenizer: one token per character.

use std::collections::BTreeSet;

use sm_tensor::TokenId;

use super::special::SpecialIds;
use super::vocabulary::{Lead, TokenKind, Vocabulary, VocabularyBuilder};
use super::{EncodeOptions, Tokenizer, TokenizerError, within};

/// How to handle characters outside the vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownCharacter {
    /// Fail to encode the text.
    #[default]
    Error,
    /// Skip the character.
    Skip,
}

/// A vocabulary of the distinct characters of a text. The id of a character is its index in their sorted list.
#[derive(Clone, Debug)]
pub struct CharTokenizer {
    characters: Vec<char>, // ascending
    unknown: UnknownCharacter,
    vocabulary: Vocabulary,
}

impl CharTokenizer {
    /// A tokenizer for the characters of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`] if the text is empty.
    pub fn new(text: &str, unknown: UnknownCharacter) -> Result<Self, TokenizerError> {
        let characters: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let mut builder = VocabularyBuilder::new(Lead::Keep);
        for (id, character) in (0..).zip(&characters) {
            builder.push(id, character.to_string().into_bytes(), TokenKind::Normal);
        }
        let vocabulary = builder.build("the text of the character vocabulary", SpecialIds::default())?;
        Ok(Self { characters, unknown, vocabulary })
    }
}

impl Tokenizer for CharTokenizer {
    fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_within(text, options, usize::MAX)
    }

    fn encode_within(
        &self,
        text: &str,
        _options: EncodeOptions,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = Vec::new();
        for (offset, character) in text.char_indices() {
            match (self.characters.binary_search(&character), self.unknown) {
                (Ok(idx), _) => {
                    ids.push(TokenId(idx as u32));
                    within(limit, text.len(), &ids)?;
                }
                (Err(_), UnknownCharacter::Skip) => {}
                (Err(_), UnknownCharacter::Error) => {
                    let vocab_size = self.characters.len();
                    return Err(TokenizerError::UnknownCharacter { character, offset, vocab_size });
                }
            }
        }
        Ok(ids)
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::SpecialTokens;

    #[test]
    fn ids_are_indices_in_the_sorted_characters() {
        let tokenizer = CharTokenizer::new("hello 😁 é", UnknownCharacter::Error).unwrap();
        assert_eq!(tokenizer.vocabulary().vocab_size(), 7); // space, e, h, l, o, é, 😁
        let ids = tokenizer.encode("ho é😁", EncodeOptions::PROMPT).unwrap();
        assert_eq!(ids, [2, 4, 0, 5, 6].map(TokenId));
        assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip), "ho é😁");
    }

    #[test]
    fn unknown_characters_fail_or_are_skipped() {
        let error = CharTokenizer::new("ab", UnknownCharacter::Error).unwrap();
        let message = error.encode("aéx", EncodeOptions::PLAIN).unwrap_err().to_string();
        assert!(message.contains("'é' at byte 1") && message.contains("2 characters"), "{message}");
        let skip = CharTokenizer::new("ab", UnknownCharacter::Skip).unwrap();
        assert_eq!(skip.encode("axéb", EncodeOptions::PLAIN).unwrap(), [TokenId(0), TokenId(1)]);
        assert!(CharTokenizer::new("", UnknownCharacter::Skip).is_err());
    }
}
