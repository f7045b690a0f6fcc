//! Incremental decoding.
//!
//! A token can end within a character. Its bytes are held back until the character is complete, so that every piece is
//! valid text, released as early as possible, and all pieces together equal the text decoded at once.

use std::fmt::Debug;
use std::sync::Arc;

use sm_tensor::TokenId;

use super::vocabulary::{Lead, TokenKind, Vocabulary};
use super::{SpecialTokens, Tokenizer};

/// Decodes a growing sequence of ids. The pieces returned by [`TextStream::push`] and finally [`TextStream::finish`]
/// concatenate to the result of [`Tokenizer::decode`] for all ids.
///
/// Bytes are held back until their character is complete. Invalid bytes become U+FFFD immediately.
#[derive(Clone, Debug)]
pub struct TextStream {
    tokenizer: Arc<dyn Tokenizer>,
    specials: SpecialTokens,
    assembler: Assembler,
    piece: String,
}

impl TextStream {
    /// A stream at the start of a text: the space that some tokenizers put before the first word is dropped.
    pub fn new(tokenizer: Arc<dyn Tokenizer>, specials: SpecialTokens) -> Self {
        let lead = tokenizer.vocabulary().lead();
        Self { tokenizer, specials, assembler: Assembler::new(lead), piece: String::new() }
    }

    /// A stream that continues a text, such as a completion after its prompt: a leading space is kept.
    pub fn after_text(tokenizer: Arc<dyn Tokenizer>, specials: SpecialTokens) -> Self {
        Self { tokenizer, specials, assembler: Assembler::new(Lead::Keep), piece: String::new() }
    }

    /// Pushes the next id and returns the text it completes: often a word, sometimes nothing.
    pub fn push(&mut self, id: TokenId) -> &str {
        self.piece.clear();
        self.assembler.push(shown(self.tokenizer.vocabulary(), id, self.specials), &mut self.piece);
        &self.piece
    }

    /// Ends the text. Bytes of an incomplete character become U+FFFD. The stream can then be used for a new text.
    pub fn finish(&mut self) -> &str {
        self.piece.clear();
        self.assembler.finish(&mut self.piece);
        &self.piece
    }
}

/// The text of all `ids`.
pub(super) fn decode(vocabulary: &Vocabulary, ids: &[TokenId], specials: SpecialTokens) -> String {
    let mut assembler = Assembler::new(vocabulary.lead());
    let mut text = String::new();
    for &id in ids {
        assembler.push(shown(vocabulary, id, specials), &mut text);
    }
    assembler.finish(&mut text);
    text
}

/// A token's bytes in the text.
fn shown(vocabulary: &Vocabulary, id: TokenId, specials: SpecialTokens) -> &[u8] {
    match (specials, vocabulary.kind(id)) {
        (SpecialTokens::Skip, TokenKind::Control) => &[],
        _ => vocabulary.token_bytes(id),
    }
}

/// `String::from_utf8_lossy`, incrementally.
#[derive(Clone, Debug)]
struct Assembler {
    lead: Lead,
    at_start: bool,
    pending: Vec<u8>, // an incomplete character, at most 3 bytes between calls
}

impl Assembler {
    fn new(lead: Lead) -> Self {
        Self { lead, at_start: true, pending: Vec::with_capacity(64) }
    }

    fn push(&mut self, mut bytes: &[u8], out: &mut String) {
        if bytes.is_empty() {
            return;
        }
        if self.at_start && self.lead == Lead::DropOneSpace {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.at_start = false;
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    done = self.pending.len();
                    break;
                }
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(valid));
                    done += valid.len();
                    let Some(n_invalid) = error.error_len() else { break };
                    debug_assert!(n_invalid <= invalid.len(), "the error is within the text");
                    out.push(char::REPLACEMENT_CHARACTER);
                    done += n_invalid;
                }
            }
        }
        self.pending.drain(..done);
    }

    fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
        self.at_start = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_add_up_to_the_lossy_text_of_all_bytes(
            chunks in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..4),
                    proptest::collection::vec(prop_oneof![Just(0xF0), Just(0x9F), Just(0x98), Just(0x81), Just(0xE2), Just(0x82)], 0..6),
                    "[aé日😁 ]{0,3}".prop_map(String::into_bytes),
                ],
                0..20,
            )
        ) {
            let mut assembler = Assembler::new(Lead::Keep);
            let mut text = String::new();
            for chunk in &chunks {
                assembler.push(chunk, &mut text);
                prop_assert!(assembler.pending.len() < 4);
            }
            assembler.finish(&mut text);
            prop_assert_eq!(text, String::from_utf8_lossy(&chunks.concat()).into_owned());
        }
    }

    #[test]
    fn only_the_first_space_of_a_text_is_dropped() {
        let mut assembler = Assembler::new(Lead::DropOneSpace);
        let mut text = String::new();
        for bytes in [b"".as_slice(), b"  a", b" b"] {
            assembler.push(bytes, &mut text);
        }
        assembler.finish(&mut text);
        assembler.push(b" c", &mut text);
        assert_eq!(text, " a bc");
    }
}
