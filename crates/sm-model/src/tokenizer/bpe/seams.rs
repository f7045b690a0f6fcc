//! Where a text can be cut without changing its tokens.
//!
//! Merges of characters never reach across two neighbours that no token has side by side. SentencePiece vocabularies hardly have
//! tokens with a space behind a letter, so their texts fall into words, which are found at once, and the memory that merging
//! takes is that of a word.

/// The pairs of characters that occur in tokens: a bit for each hash of one. Two pairs with one bit only mean a cut less.
#[derive(Debug)]
pub(super) struct Seams {
    bits: Vec<u64>, // [WORDS]
}

const LOG2_BITS: u32 = 20;
const WORDS: usize = 1 << (LOG2_BITS - 6);

impl Seams {
    pub(super) fn new<'t>(tokens: impl Iterator<Item = &'t [u8]>) -> Self {
        let mut seams = Self { bits: vec![0; WORDS] };
        for token in tokens {
            let text = String::from_utf8_lossy(token);
            for (left, right) in text.chars().zip(text.chars().skip(1)) {
                let (word, bit) = place(left, right);
                seams.bits[word] |= bit;
            }
        }
        seams
    }

    /// Whether no token reaches across the border between two characters.
    pub(super) fn separates(&self, left: char, right: char) -> bool {
        let (word, bit) = place(left, right);
        self.bits[word] & bit == 0
    }
}

fn place(left: char, right: char) -> (usize, u64) {
    let pair = u64::from(left) << 21 | u64::from(right);
    let hash = pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - LOG2_BITS);
    ((hash >> 6) as usize, 1 << (hash & 63))
}
