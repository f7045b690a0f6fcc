//! Random text with a given number of tokens.

use std::fmt;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use sm_runtime::TokenId;
use sm_runtime::model::tokenizer::{EncodeOptions, SpecialTokens, TokenKind, Tokenizer};

use crate::failure::Failure;

/// How often a text is cut or extended until it has the right number of tokens.
const N_TRIES: usize = 10;

/// Makes texts.
pub(super) struct TextMaker {
    tokenizer: Arc<dyn Tokenizer>,
    rng: StdRng,
    /// Tokens that are whole words: they begin with a space and are ASCII letters, so that most of them stay themselves when
    /// their text is tokenized again. All ordinary tokens, if there are few of those.
    words: Vec<TokenId>,
}

impl fmt::Debug for TextMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextMaker").finish_non_exhaustive()
    }
}

impl TextMaker {
    pub(super) fn new(tokenizer: Arc<dyn Tokenizer>, rng: StdRng) -> Self {
        let vocabulary = tokenizer.vocabulary();
        let is_word = |bytes: &[u8]| {
            bytes
                .strip_prefix(b" ")
                .is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphabetic))
        };
        let is_printable =
            |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let ids = || {
            (0..vocabulary.vocab_size() as u32)
                .map(TokenId)
                .filter(|id| vocabulary.kind(*id) == TokenKind::Normal)
        };
        let mut words: Vec<_> = ids().filter(|id| is_word(vocabulary.token_bytes(*id))).collect();
        if words.len() < 100 {
            words = ids().filter(|id| is_printable(vocabulary.token_bytes(*id))).collect();
        }
        Self { tokenizer, rng, words }
    }

    pub(super) fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// A text of so many tokens; in rare cases, of a few more or less.
    ///
    /// # Errors
    /// If the vocabulary has no ordinary text.
    pub(super) fn text(&mut self, n_tokens: usize) -> Result<String, Failure> {
        if self.words.is_empty() && n_tokens > 0 {
            let message = "its vocabulary has no printable tokens".to_owned();
            return Err(Failure::Option { flag: "--tokenizer", message });
        }
        let mut ids = Vec::new();
        let mut text = String::new();
        for _ in 0..N_TRIES {
            let (rng, words) = (&mut self.rng, &self.words);
            ids.truncate(n_tokens);
            ids.resize_with(n_tokens, || words[rng.random_range(0..words.len())]);
            text = self.tokenizer.decode(&ids, SpecialTokens::Skip);
            ids = self.tokenizer.encode(&text, EncodeOptions::PLAIN)?;
            if ids.len() == n_tokens {
                break;
            }
        }
        Ok(text)
    }

    /// The number of tokens of a text.
    ///
    /// # Errors
    /// If there is no token for a part of it.
    pub(super) fn count(&self, text: &str) -> Result<usize, Failure> {
        Ok(self.tokenizer.encode(text, EncodeOptions::PLAIN)?.len())
    }
}
