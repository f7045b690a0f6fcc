//! Byte-pair vocabularies that write their tokens and merges as text, as `tokenizer.json` and GGUF do.

use std::collections::HashMap;

use super::{Alphabet, Bpe, ByteIds, Listed};
use crate::tokenizer::byte_level::ByteLevelDecoder;

/// The tokens of a file.
#[derive(Debug)]
pub(in crate::tokenizer) struct TextVocabulary<'v> {
    ids: HashMap<&'v str, u32>,
}

impl<'v> TextVocabulary<'v> {
    pub(in crate::tokenizer) fn new(ids: HashMap<&'v str, u32>) -> Self {
        Self { ids }
    }

    /// The merge of two tokens.
    ///
    /// # Errors
    /// Which text is no token.
    pub(in crate::tokenizer) fn merge(&self, (left, right): (&str, &str)) -> Result<Listed, String> {
        let id = |text: &str| {
            self.ids.get(text).copied().ok_or_else(|| format!("token of a merge `{text}` out of vocabulary"))
        };
        Ok(Listed { left: id(left)?, right: id(right)?, made: id(&format!("{left}{right}"))? })
    }

    /// Whether every byte has a token in the byte-level alphabet.
    pub(in crate::tokenizer) fn has_all_letters(&self) -> bool {
        crate::tokenizer::byte_level::alphabet()
            .into_iter()
            .all(|letter| self.ids.contains_key(letter.encode_utf8(&mut [0; 4]) as &str))
    }

    /// Whether every byte has a token such as `<0x0A>`.
    pub(in crate::tokenizer) fn has_all_bytes(&self) -> bool {
        self.fallback().iter().all(Option::is_some)
    }

    /// BPE of bytes, whose tokens are written with a printable character for each. What else is in the vocabulary cannot come
    /// out of a text.
    pub(in crate::tokenizer) fn byte_level(&self, merges: &[Listed], ignores_merges: bool) -> Bpe {
        let decoder = ByteLevelDecoder::new();
        let mut bytes: Box<ByteIds> = Box::new([None; 256]);
        let mut tokens = Vec::with_capacity(self.ids.len());
        for (text, &id) in &self.ids {
            let Some(token) = decoder.bytes(text) else { continue };
            if let [byte] = token[..] {
                bytes[usize::from(byte)] = Some(id);
            }
            tokens.push((token, id));
        }
        Bpe::listed(tokens, merges, Alphabet::Bytes(bytes), ignores_merges)
    }

    /// BPE of characters, with tokens such as `<0x0A>` for the bytes of unknown ones.
    pub(in crate::tokenizer) fn of_characters(&self, merges: &[Listed], ignores_merges: bool) -> Bpe {
        let tokens = self.ids.iter().map(|(text, &id)| (text.as_bytes().to_vec(), id));
        Bpe::listed(tokens, merges, Alphabet::Characters(self.fallback()), ignores_merges)
    }

    fn fallback(&self) -> Box<ByteIds> {
        let id = |byte: usize| self.ids.get(format!("<0x{byte:02X}>").as_str()).copied();
        Box::new(std::array::from_fn(id))
    }
}
