//! All token texts of a vocabulary, searchable by prefix.

use sm_model::tokenizer::{TokenKind, Vocabulary};
use sm_tensor::TokenId;

/// The bytes that each token adds to an output; none for special tokens.
#[derive(Debug)]
pub(crate) struct TokenTexts {
    bytes: Vec<u8>,
    /// End of each token's text in `bytes`.
    ends: Vec<u32>,
    /// Tokens sorted by text.
    sorted: Vec<TokenId>,
}

impl TokenTexts {
    pub(crate) fn new(vocabulary: &Vocabulary) -> Self {
        let ids = (0..vocabulary.vocab_size() as u32).map(TokenId);
        Self::of_texts(ids.map(|id| match vocabulary.kind(id) {
            TokenKind::Normal | TokenKind::Added => vocabulary.token_bytes(id),
            TokenKind::Control | TokenKind::Unused => &[],
        }))
    }

    /// The texts of tokens numbered from 0.
    pub(crate) fn of_texts<'t>(tokens: impl Iterator<Item = &'t [u8]>) -> Self {
        let mut texts = Self { bytes: Vec::new(), ends: Vec::new(), sorted: Vec::new() };
        for text in tokens {
            texts.bytes.extend_from_slice(text);
            texts.ends.push(texts.bytes.len() as u32);
        }
        let mut sorted: Vec<TokenId> = (0..texts.ends.len() as u32).map(TokenId).collect();
        sorted.sort_by(|a, b| texts.of(*a).cmp(texts.of(*b)));
        texts.sorted = sorted;
        texts
    }

    /// The text of a token; empty for ids beyond the vocabulary.
    pub(crate) fn of(&self, token: TokenId) -> &[u8] {
        let idx = token.0 as usize;
        let Some(&end) = self.ends.get(idx) else { return &[] };
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// All tokens and their texts, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TokenId, &[u8])> {
        (0..self.ends.len() as u32).map(|id| (TokenId(id), self.of(TokenId(id))))
    }

    /// All tokens, sorted by text.
    pub(crate) fn sorted(&self) -> &[TokenId] {
        &self.sorted
    }
}
