//! Byte-pair encoding: merges the bytes or characters of a piece of text into tokens, best pair first.
//!
//! ```text
//! piece ─► a token that merging is known to yield? ─► its id           (known)
//!       └► symbols ─► merge the neighbours of the best rank, repeat    (merge)
//! ```
//!
//! Most words are tokens, and to look one up costs a hash. Whether merging yields that token is found when it is first met, and
//! remembered. The others are merged in place, in about 8 bytes per byte of text, however long they are. Vocabularies that merge
//! a whole text, spaces included, have it cut first where no token can reach across (seams).
//!
//! Byte-level BPE: GPT-2,
//! <https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf>; merge order:
//! Sennrich et al., <https://arxiv.org/abs/1508.07909>; merges by score: SentencePiece, <https://arxiv.org/abs/1808.06226>.

use std::sync::atomic::{AtomicU8, Ordering};

use sm_tensor::TokenId;

use self::known::Known;
use self::merge::Merger;
use self::pairs::Merges;
use self::seams::Seams;
use super::TokenizerError;

mod known;
mod merge;
mod output;
mod pairs;
mod seams;
#[cfg(test)]
mod tests;
mod text_vocabulary;

pub(super) use self::output::Output;
pub(super) use self::pairs::Listed;
pub(super) use self::text_vocabulary::TextVocabulary;

/// The ids of single bytes, where there are any.
pub(super) type ByteIds = [Option<u32>; 256];

/// What a piece is before merging.
#[derive(Debug)]
pub(super) enum Alphabet {
    /// Bytes; those without a token are left out.
    Bytes(Box<ByteIds>),
    /// Characters. One that is no token is the tokens of its bytes; if one of these is missing, it is left out.
    Characters(Box<ByteIds>),
    /// Characters; what merging leaves of those that are no token becomes bytes, or for want of these, this token.
    Scored(Box<ByteIds>, Option<u32>),
}

/// A byte-pair vocabulary.
#[derive(Debug)]
pub(super) struct Bpe {
    known: Known,
    merges: Merges,
    alphabet: Alphabet,
    /// Whether a piece that is a token becomes that token regardless of merges.
    ignores_merges: bool,
    yields: Vec<AtomicU8>, // by index of the token in `known`, one of the constants below
    seams: Option<Seams>,
}

/// Nobody has merged the bytes of the token yet.
const UNKNOWN: u8 = 0;
/// Merging them yields the token.
const ITSELF: u8 = 1;
/// It yields other tokens.
const OTHERS: u8 = 2;

/// Working memory, reused from piece to piece.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    merger: Merger,
    word: String,
}

impl Bpe {
    /// A vocabulary of tokens, distinct bytes with their ids, and a list of merges. The bytes of `alphabet` must be those of the
    /// tokens.
    pub(super) fn listed(
        tokens: impl IntoIterator<Item = (Vec<u8>, u32)>,
        merges: &[Listed],
        alphabet: Alphabet,
        ignores_merges: bool,
    ) -> Self {
        let known = Known::new(tokens);
        let may_cut = match &alphabet {
            Alphabet::Bytes(_) | Alphabet::Scored(..) => false,
            // Around a character that is left out, others become neighbours; the text of a byte's token does not tell where it
            // came from; and a part of the text that is a token need not become it, only the whole.
            Alphabet::Characters(bytes) => {
                let mut of_bytes: Vec<u32> = bytes.iter().copied().flatten().collect();
                of_bytes.sort_unstable();
                let is_byte = |id: u32| of_bytes.binary_search(&id).is_ok();
                of_bytes.len() == bytes.len()
                    && !ignores_merges
                    && !merges.iter().any(|merge| is_byte(merge.left) || is_byte(merge.right))
            }
        };
        Self::new(known, Merges::listed(merges), alphabet, ignores_merges, may_cut)
    }

    /// A vocabulary of tokens, distinct texts with their ids and scores, in which all neighbours that form a token merge.
    pub(super) fn scored(tokens: Vec<(String, u32, f32)>, bytes: Box<ByteIds>, unknown: Option<u32>) -> Self {
        let scores: Vec<f32> = tokens.iter().map(|&(.., score)| score).collect();
        let known = Known::new(tokens.into_iter().map(|(text, id, _)| (text.into_bytes(), id)));
        Self::new(known, Merges::scored(&scores), Alphabet::Scored(bytes, unknown), false, true)
    }

    fn new(known: Known, merges: Merges, alphabet: Alphabet, ignores_merges: bool, may_cut: bool) -> Self {
        let yields = (0..known.len()).map(|_| AtomicU8::new(UNKNOWN)).collect();
        let seams = may_cut.then(|| Seams::new(known.iter()));
        Self { known, merges, alphabet, ignores_merges, yields, seams }
    }

    /// Appends the ids of a text of characters, which may be cut wherever no token reaches across.
    ///
    /// # Errors
    /// As [`Bpe::encode`].
    pub(super) fn encode_characters(
        &self,
        text: impl Iterator<Item = char>,
        scratch: &mut Scratch,
        output: &mut Output,
    ) -> Result<(), TokenizerError> {
        let mut word = std::mem::take(&mut scratch.word);
        word.clear();
        let mut last = None;
        for character in text {
            if let (Some(last), Some(seams)) = (last, &self.seams)
                && seams.separates(last, character)
            {
                self.encode(word.as_bytes(), scratch, output)?;
                word.clear();
            }
            word.push(character);
            last = Some(character);
        }
        self.encode(word.as_bytes(), scratch, output)?;
        scratch.word = word;
        Ok(())
    }

    /// Appends the ids of a piece.
    ///
    /// # Errors
    /// [`TokenizerError::TooManyTokens`]; [`TokenizerError::Encode`] if part of the piece has no token, where that is an error.
    pub(super) fn encode(
        &self,
        piece: &[u8],
        scratch: &mut Scratch,
        output: &mut Output,
    ) -> Result<(), TokenizerError> {
        let whole = self.known.find(piece);
        if let Some((idx, id)) = whole
            && (self.ignores_merges || self.yields[idx].load(Ordering::Relaxed) == ITSELF)
        {
            output.ids.push(TokenId(id));
            return output.check();
        }
        let n_before = output.ids.len();
        self.merge(piece, &mut scratch.merger, output)?;
        if let Some((idx, id)) = whole {
            let found = if output.ids[n_before..] == [TokenId(id)] { ITSELF } else { OTHERS };
            // Whoever comes to this token finds the same, so the order of writes does not matter.
            self.yields[idx].store(found, Ordering::Relaxed);
        }
        output.check()
    }

    fn merge(&self, piece: &[u8], merger: &mut Merger, output: &mut Output) -> Result<(), TokenizerError> {
        merger.clear(piece.len());
        match &self.alphabet {
            Alphabet::Bytes(bytes) => {
                for (at, byte) in piece.iter().enumerate() {
                    if let Some(id) = bytes[usize::from(*byte)] {
                        merger.push(at, id);
                    }
                }
            }
            Alphabet::Characters(bytes) => {
                for (start, end) in characters(piece) {
                    match self.known.find(&piece[start..end]) {
                        Some((_, id)) => merger.push(start, id),
                        None if piece[start..end].iter().all(|&byte| bytes[usize::from(byte)].is_some()) => {
                            for at in start..end {
                                merger.push(at, bytes[usize::from(piece[at])].unwrap_or_default());
                            }
                        }
                        None => {}
                    }
                }
            }
            // Scored symbols are told apart by their text.
            Alphabet::Scored(..) => characters(piece).for_each(|(start, _)| merger.push(start, 0)),
        }
        merger.merge(&self.merges.of(piece, &self.known));
        match &self.alphabet {
            Alphabet::Bytes(_) | Alphabet::Characters(_) => {
                output.ids.extend(merger.symbols().map(|symbol| TokenId(symbol.id)));
            }
            Alphabet::Scored(bytes, unknown) => {
                for symbol in merger.symbols() {
                    let part = &piece[symbol.start..symbol.end];
                    if let Some((_, id)) = self.known.find(part) {
                        output.ids.push(TokenId(id));
                        continue;
                    }
                    for &byte in part {
                        let id = bytes[usize::from(byte)].or(*unknown);
                        output.ids.push(TokenId(id.ok_or_else(|| output.no_token(part, byte))?));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The characters of a piece of UTF-8 text, by their first byte and the one behind them.
fn characters(piece: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let is_start = |at: usize| piece.get(at).is_none_or(|byte| !matches!(byte, 0x80..0xC0));
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = (start + 1..=piece.len()).find(|&at| is_start(at))?;
        Some((std::mem::replace(&mut start, end), end))
    })
}
