//! A `llama` vocabulary: SentencePiece-style BPE, which merges neighbours that form a token, best score first. What is left becomes
//! byte tokens.
//!
//! As llama.cpp's `llm_tokenizer_spm` and SentencePiece's `bpe_model.cc` do, with our own merging ([`crate::tokenizer::bpe`]).

use super::tokens::{TokenType, Tokens};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::bpe::{Bpe, ByteIds};
use crate::tokenizer::encoder::{Encoder, Form};
use crate::tokenizer::hf::fallback_byte;
use crate::tokenizer::split::Splitter;

/// The encoder of the vocabulary.
pub(super) fn encoder(tokens: &Tokens<'_>) -> Result<Encoder, TokenizerError> {
    let score = |id: u32| tokens.scores.get(id as usize).copied().unwrap_or(0.0);
    let mut bytes: Box<ByteIds> = Box::new([None; 256]);
    let mut unknown = None;
    for (id, text) in (0..).zip(tokens.texts) {
        match tokens.kind(id) {
            TokenType::Unknown => unknown = Some(id),
            _ => {
                if let Some(byte) = fallback_byte(text) {
                    bytes[usize::from(byte)] = Some(id);
                }
            }
        }
    }
    let scored = tokens.ids.iter().map(|(&text, &id)| (text.to_owned(), id, score(id))).collect();
    let splitter = Splitter::new(&[]).map_err(super::tokens::invalid)?;
    Ok(Encoder { splitter, bpe: Bpe::scored(scored, bytes, unknown), form: Form::Underscored })
}
