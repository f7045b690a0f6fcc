//! Packed codes of a few bits, as the checkpoints of each method store them.
//!
//! ```text
//! Last      [n, ceil(m * bits / 32)] words, or [n, m] bytes: the codes of a row one after the other, lowest bits first
//! First     [ceil(n * bits / 32), m] words: the codes of a column one after the other, lowest bits first
//! LastAwq   [n, m / 8] words: codes 0 2 4 6 1 3 5 7 of eight of a row, lowest bits first
//! ```
//!
//! Matrices of GPTQ (`First`) and AWQ (`LastAwq`) are stored with inputs first, so a row of ours is a column of theirs. A strip of
//! columns is gathered from the packed matrix, which is held in memory until it is done: each run is a few whole cache lines.
//! Reading every run from the file would be a system call for each; converting whole matrices ahead would hold them unpacked.

use std::ops::Range;

use super::part::Part;
use crate::LoadError;
use crate::load::stored::StoredAs;

/// How codes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Along the last dimension.
    Last,
    /// Along the first dimension.
    First,
    /// Along the last dimension, in the order of AWQ.
    LastAwq,
}

/// Where the code of each of eight columns is in a word of AWQ, counted from the lowest bits: `order_map` of
/// `awq/modules/linear/gemm.py`, inverted.
const AWQ_NIBBLES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// A matrix of packed codes.
#[derive(Debug)]
pub(super) struct Codes {
    part: Part,
    bits: usize,
    packing: Packing,
    /// Unpacked.
    extents: [usize; 2],
    /// Of the packed tensor.
    row_bytes: usize,
}

impl Codes {
    /// Codes of `bits` in a tensor that is `extents` once unpacked.
    ///
    /// # Errors
    /// If the tensor has another shape or its values are neither words nor bytes.
    pub(super) fn new(
        part: Part,
        bits: usize,
        extents: [usize; 2],
        packing: Packing,
    ) -> Result<Self, LoadError> {
        let [first, last] = extents;
        let words = |len: usize| (len * bits).div_ceil(32);
        let is_bytes = part.stored.value_bytes() == Some(1);
        let expected = match packing {
            Packing::Last | Packing::LastAwq if is_bytes => [first, last],
            Packing::Last | Packing::LastAwq => [first, words(last)],
            Packing::First => [words(first), last],
        };
        if !is_bytes || packing != Packing::Last {
            part.expect_type(&[StoredAs::I32, StoredAs::U32], "I32 or U32")?;
        }
        part.expect_shape(&expected)?;
        let row_bytes = expected[1] * if is_bytes { 1 } else { 4 };
        Ok(Self { part, bits, packing, extents, row_bytes })
    }

    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    fn mask(&self) -> u32 {
        (1 << self.bits) - 1
    }

    /// The same codes, all in memory.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn held(self) -> Result<HeldCodes, LoadError> {
        let bytes = self.part.bytes()?.into_owned();
        Ok(HeldCodes { codes: self, bytes })
    }

    /// The code at a position of the unpacked matrix, of which `bytes` is all.
    fn get(&self, bytes: &[u8], first: usize, last: usize) -> u8 {
        match self.packing {
            Packing::Last => self.code_in(&bytes[first * self.row_bytes..][..self.row_bytes], last),
            Packing::First => {
                let bit = first * self.bits;
                let byte = bit / 32 * self.row_bytes + last * 4 + bit % 32 / 8;
                (u32::from(bytes[byte]) >> (bit % 8) & self.mask()) as u8
            }
            Packing::LastAwq => {
                let nibble = AWQ_NIBBLES[last % 8];
                bytes[first * self.row_bytes + last / 8 * 4 + nibble / 2] >> (nibble % 2 * 4) & 15
            }
        }
    }

    /// Code `index` of a packed row.
    fn code_in(&self, row: &[u8], index: usize) -> u8 {
        let bit = index * self.bits;
        let low = u32::from(row[bit / 8]);
        // Codes of 3, 5 and 6 bits may reach into the next byte.
        let high = row.get(bit / 8 + 1).map_or(0, |&byte| u32::from(byte) << 8);
        ((low | high) >> (bit % 8) & self.mask()) as u8
    }

    /// Rows of the unpacked matrix, row-major.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn rows(&self, rows: Range<usize>) -> Result<Vec<u8>, LoadError> {
        let cols = self.extents[1];
        let mut buffer = Vec::new();
        let packed = self.part.read(rows.start * self.row_bytes..rows.end * self.row_bytes, &mut buffer)?;
        let mut codes = vec![0; rows.len() * cols];
        for (codes, packed) in codes.chunks_exact_mut(cols).zip(packed.chunks_exact(self.row_bytes)) {
            match self.bits {
                8 => codes.copy_from_slice(&packed[..cols]),
                4 => codes.chunks_mut(2).zip(packed).for_each(|(pair, byte)| {
                    pair[0] = byte & 15;
                    pair[1..].fill(byte >> 4);
                }),
                _ => {
                    let codes = codes.iter_mut().enumerate();
                    codes.for_each(|(index, code)| *code = self.code_in(packed, index));
                }
            }
        }
        Ok(codes)
    }

    /// Columns of the unpacked matrix, one after the other.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn columns(&self, columns: Range<usize>) -> Result<Vec<u8>, LoadError> {
        let bytes = self.part.hold()?;
        let len = self.extents[0];
        let mut codes = vec![0; columns.len() * len];
        if self.packing == Packing::First {
            self.columns_of_words(&bytes, columns, &mut codes);
            return Ok(codes);
        }
        for row in 0..len {
            for (column, codes) in columns.clone().zip(codes.chunks_exact_mut(len)) {
                codes[row] = self.get(&bytes, row, column);
            }
        }
        Ok(codes)
    }

    /// Columns of which each word holds several codes, neighbours once unpacked.
    fn columns_of_words(&self, bytes: &[u8], columns: Range<usize>, codes: &mut [u8]) {
        let len = self.extents[0];
        let per_word = 32 / self.bits;
        for (row, words) in bytes.chunks_exact(self.row_bytes).enumerate() {
            let first = row * per_word;
            let n_codes = per_word.min(len - first);
            let words = &words.as_chunks::<4>().0[columns.clone()];
            for (word, codes) in words.iter().zip(codes.chunks_exact_mut(len)) {
                let word = u32::from_le_bytes(*word);
                for (index, code) in codes[first..first + n_codes].iter_mut().enumerate() {
                    *code = (word >> (index * self.bits) & self.mask()) as u8;
                }
            }
        }
    }
}

/// Packed codes in memory, for those that are few and wanted one by one.
#[derive(Debug)]
pub(super) struct HeldCodes {
    codes: Codes,
    bytes: Vec<u8>,
}

impl HeldCodes {
    pub(super) fn bits(&self) -> usize {
        self.codes.bits
    }

    pub(super) fn part(&self) -> &Part {
        &self.codes.part
    }

    /// The code at a position of the unpacked matrix.
    pub(super) fn get(&self, first: usize, last: usize) -> u8 {
        self.codes.get(&self.bytes, first, last)
    }
}
