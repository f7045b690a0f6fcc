//! SentencePiece-style BPE: merges neighbours into tokens, best score first; the rest becomes byte tokens.
//!
//! ```text
//! queue = all neighbours that form a token
//! while the best pair of the queue is still two neighbours: merge it, queue the pairs it forms with its new neighbours
//! ```
//!
//! A priority queue over a linked list of symbols, `O(n log n)`, as in SentencePiece's `bpe_model.cc` and llama.cpp's
//! `llm_tokenizer_spm`. SentencePiece: <https://arxiv.org/abs/1808.06226>.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use sm_tensor::TokenId;

use super::tokens::{TokenType, Tokens};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::hf::fallback_byte;

/// A `llama` vocabulary: tokens with scores.
#[derive(Debug)]
pub(super) struct Spm {
    tokens: HashMap<String, (u32, f32)>, // id and score by text, spaces as `▁`
    bytes: [Option<TokenId>; 256],
    unknown: Option<TokenId>,
}

/// A piece of text merged into one symbol so far; empty once merged into its left neighbour.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that form a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Pair {
    /// The best score, then the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Spm {
    pub(super) fn new(tokens: &Tokens<'_>) -> Self {
        let score = |id: u32| tokens.scores.get(id as usize).copied().unwrap_or(0.0);
        let mut bytes = [None; 256];
        let mut unknown = None;
        for (id, text) in (0..).zip(tokens.texts) {
            match tokens.kind(id) {
                TokenType::Unknown => unknown = Some(TokenId(id)),
                _ => {
                    if let Some(byte) = fallback_byte(text) {
                        bytes[usize::from(byte)] = Some(TokenId(id));
                    }
                }
            }
        }
        let ids = tokens.ids.iter().map(|(&text, &id)| (text.to_owned(), (id, score(id))));
        Self { tokens: ids.collect(), bytes, unknown }
    }

    /// Appends the ids of `text`, whose spaces have been replaced with `▁`.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(idx, (start, letter))| Symbol {
                start,
                len: letter.len_utf8(),
                prev: idx.checked_sub(1),
                next: Some(idx + 1),
            })
            .collect();
        let Some(last) = symbols.last_mut() else { return Ok(()) };
        last.next = None;
        self.merge(text, &mut symbols);
        let mut current = Some(0);
        while let Some(idx) = current {
            let symbol = symbols[idx];
            self.emit(&text[symbol.start..symbol.start + symbol.len], text.len(), ids)?;
            current = symbol.next;
        }
        Ok(())
    }

    fn merge(&self, text: &str, symbols: &mut [Symbol]) {
        let mut queue = BinaryHeap::new();
        for left in 0..symbols.len() - 1 {
            queue.extend(self.pair(text, symbols, Some(left), Some(left + 1)));
        }
        while let Some(Pair { left, right, len, .. }) = queue.pop() {
            let (l, r) = (symbols[left], symbols[right]);
            if l.len == 0 || r.len == 0 || l.len + r.len != len {
                continue; // stale: one of the two has been merged in the meantime
            }
            symbols[left].len = len;
            symbols[left].next = r.next;
            symbols[right].len = 0;
            if let Some(next) = r.next {
                symbols[next].prev = Some(left);
            }
            queue.extend(self.pair(text, symbols, l.prev, Some(left)));
            queue.extend(self.pair(text, symbols, Some(left), r.next));
        }
    }

    fn pair(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Pair> {
        let left = left?;
        let right = right?;
        let start = symbols[left].start;
        let len = symbols[left].len + symbols[right].len;
        let &(_, score) = self.tokens.get(&text[start..start + len])?;
        Some(Pair { score, left, right, len })
    }

    fn emit(&self, piece: &str, n_bytes: usize, ids: &mut Vec<TokenId>) -> Result<(), TokenizerError> {
        if let Some(&(id, _)) = self.tokens.get(piece) {
            ids.push(TokenId(id));
            return Ok(());
        }
        for byte in piece.bytes() {
            let id =
                self.bytes[usize::from(byte)].or(self.unknown).ok_or_else(|| TokenizerError::Encode {
                    n_bytes,
                    reason: format!(
                        "the vocabulary has no token for {piece:?} or byte {byte:#04x}, and no unknown token"
                    ),
                })?;
            ids.push(id);
        }
        Ok(())
    }
}
