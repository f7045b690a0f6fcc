//! A model's vocabulary: token bytes, kinds and special tokens.

use sm_tensor::TokenId;

use super::special::SpecialIds;
use super::{InfillTokens, TokenizerError};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Text added after training; recognized in any text and kept when decoding.
    Added,
    /// A control token such as BOS or `<|im_end|>`; omitted when decoding with [`super::SpecialTokens::Skip`].
    Control,
    /// A gap in the ids.
    Unused,
}

/// All tokens of a model. Text is the concatenation of its tokens' bytes.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    bytes: Vec<u8>,        // all tokens, one after the other
    ends: Vec<u32>,        // [vocab_size], where each token ends in `bytes`
    kinds: Vec<TokenKind>, // [vocab_size]
    lead: Lead,
    special: SpecialIds,
}

/// Handling of a space at the very start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// It is kept.
    Keep,
    /// It is dropped, because the tokenizer put it there (SentencePiece's `add_dummy_prefix`).
    DropOneSpace,
}

impl Vocabulary {
    /// Number of ids. The model's logits may be padded to more.
    pub fn vocab_size(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `id`, which need not be valid UTF-8; empty for ids beyond the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        let idx = id.0 as usize;
        let Some(&end) = self.ends.get(idx) else { return &[] };
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The length of the longest token in bytes.
    pub fn longest_token(&self) -> usize {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.ends.iter().zip(starts).map(|(&end, start)| (end - start) as usize).max().unwrap_or(0)
    }

    /// The kind of `id`; [`TokenKind::Unused`] for ids beyond the vocabulary.
    pub fn kind(&self, id: TokenId) -> TokenKind {
        self.kinds.get(id.0 as usize).copied().unwrap_or(TokenKind::Unused)
    }

    /// The token that opens a sequence, if the model has one.
    pub fn bos(&self) -> Option<TokenId> {
        self.special.bos
    }

    /// The token that ends a sequence, if the model has one.
    pub fn eos(&self) -> Option<TokenId> {
        self.special.eos
    }

    /// The token for text that cannot be encoded, if the model has one.
    pub fn unknown(&self) -> Option<TokenId> {
        self.special.unknown
    }

    /// The token that pads batches, if the model has one.
    pub fn padding(&self) -> Option<TokenId> {
        self.special.padding
    }

    /// The ids that end generation, sorted: EOS, and tokens that end a turn or message.
    pub fn end_of_generation(&self) -> &[TokenId] {
        &self.special.end_of_generation
    }

    /// Whether `id` ends generation.
    pub fn ends_generation(&self, id: TokenId) -> bool {
        self.special.end_of_generation.binary_search(&id).is_ok()
    }

    /// The tokens with which the model is asked to fill a gap in a text.
    pub fn infill(&self) -> InfillTokens {
        self.special.infill
    }

    /// The text of a special token, as used by chat templates; empty for `None`.
    pub fn text_of(&self, id: Option<TokenId>) -> String {
        id.map(|id| String::from_utf8_lossy(self.token_bytes(id)).into_owned()).unwrap_or_default()
    }

    pub(super) fn lead(&self) -> Lead {
        self.lead
    }
}

/// Collects tokens, in any order of ids.
#[derive(Debug)]
pub(super) struct VocabularyBuilder {
    tokens: Vec<(u32, Vec<u8>, TokenKind)>,
    lead: Lead,
}

impl VocabularyBuilder {
    pub(super) fn new(lead: Lead) -> Self {
        Self { tokens: Vec::new(), lead }
    }

    /// Adds a token. A later one with the same id replaces it.
    pub(super) fn push(&mut self, id: u32, bytes: Vec<u8>, kind: TokenKind) {
        self.tokens.push((id, bytes, kind));
    }

    /// The finished vocabulary.
    ///
    /// # Errors
    /// If it is empty, a special id is out of range, or ids far exceed the number of tokens: the table would be mostly
    /// gaps, and a hostile file could make it arbitrarily large.
    pub(super) fn build(mut self, file: &str, special: SpecialIds) -> Result<Vocabulary, TokenizerError> {
        self.tokens.sort_by_key(|token| token.0);
        let n_tokens = self.tokens.len();
        let Some(&(last, ..)) = self.tokens.last() else {
            return Err(TokenizerError::Invalid {
                file: file.to_owned(),
                what: "tokenizer",
                reason: "the vocabulary is empty".to_owned(),
            });
        };
        let vocab_size = last as usize + 1;
        if vocab_size > 4 * n_tokens + 65_536 {
            let token = format!("the last token of {file}");
            return Err(TokenizerError::IdOutOfRange { token, id: u64::from(last), vocab_size: n_tokens });
        }
        let mut vocabulary = Vocabulary {
            bytes: Vec::new(),
            ends: vec![0; vocab_size],
            kinds: vec![TokenKind::Unused; vocab_size],
            lead: self.lead,
            special,
        };
        let mut tokens = self.tokens.into_iter().peekable();
        for idx in 0..vocab_size {
            let mut last_given = None;
            while let Some(token) = tokens.next_if(|token| token.0 as usize == idx) {
                last_given = Some(token);
            }
            if let Some((_, bytes, kind)) = last_given {
                vocabulary.bytes.extend_from_slice(&bytes);
                vocabulary.kinds[idx] = kind;
            }
            vocabulary.ends[idx] =
                u32::try_from(vocabulary.bytes.len()).map_err(|_| TokenizerError::Invalid {
                    file: file.to_owned(),
                    what: "tokenizer",
                    reason: "the text of its tokens exceeds 4 GiB".to_owned(),
                })?;
        }
        vocabulary.special.check(vocab_size)?;
        Ok(vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(ids: &[u32]) -> VocabularyBuilder {
        let mut builder = VocabularyBuilder::new(Lead::Keep);
        for &id in ids {
            builder.push(id, format!("t{id}").into_bytes(), TokenKind::Normal);
        }
        builder
    }

    #[test]
    fn gaps_are_unused_and_empty() {
        let vocabulary = builder(&[3, 0, 1]).build("f", SpecialIds::default()).unwrap();
        assert_eq!(vocabulary.vocab_size(), 4);
        assert_eq!(vocabulary.token_bytes(TokenId(3)), b"t3");
        assert_eq!(vocabulary.token_bytes(TokenId(2)), b"");
        assert_eq!(vocabulary.kind(TokenId(2)), TokenKind::Unused);
        assert_eq!(vocabulary.token_bytes(TokenId(u32::MAX)), b"");
        assert_eq!(vocabulary.kind(TokenId(4)), TokenKind::Unused);
    }

    #[test]
    fn huge_ids_and_empty_vocabularies_are_refused() {
        let huge = builder(&[0, u32::MAX]).build("f", SpecialIds::default()).unwrap_err();
        assert!(matches!(huge, TokenizerError::IdOutOfRange { vocab_size: 2, .. }), "{huge}");
        let empty = builder(&[]).build("f", SpecialIds::default()).unwrap_err();
        assert!(empty.to_string().contains("empty"), "{empty}");
    }

    #[test]
    fn special_tokens_beyond_the_vocabulary_are_refused() {
        let special = SpecialIds { eos: Some(TokenId(9)), ..SpecialIds::default() };
        let error = builder(&[0, 1]).build("f", special).unwrap_err();
        assert_eq!(error.to_string(), "eos has id 9, but the vocabulary has only 2 tokens");
    }
}
