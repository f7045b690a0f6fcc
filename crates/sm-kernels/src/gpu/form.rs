//! The forms in which weights lie on the device.
//!
//! ```text
//! low, high   planes of codes: [row][segment of 32 columns][words]
//! scales      [row][segment, or super-block of 8 segments][words]
//!
//! bits        words of a segment     byte i of word w holds of each quad (4 columns)
//! 8           8                      quad w
//! 4           4                      quad 2w | quad (2w + 1) << 4
//! 2           2                      quad 4w | quad (4w + 1) << 2 | …
//! 1           1                      quad q in bit q
//! ```
//!
//! One shift and one mask take a quad out, and neighbouring lanes read neighbouring words. Every value is that of the file: a code
//! times a scale that is exact, less a minimum. The 26 types of files become a few forms, and those one kernel text behind
//! constants: types whose values are positions in a grid are unpacked to 4-bit indices into a table, as on the CPU.

mod unpack;

use sm_tensor::DType;

use super::kernel::Source;
use unpack::{Block, unpack};

/// Columns of a segment.
pub(crate) const SEGMENT_LEN: usize = 32;

/// How the values of a type lie on the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// A word, or half of one, for each value.
    Float(Float),
    /// Codes and scales.
    Quantized(Quantized),
}

/// A type of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F16,
    Bf16,
}

/// A form of codes: `scale * (step * code - offset) - min`, or `scale * table[code]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantized {
    low_bits: usize,
    high_bits: usize,
    step: i32,
    offset: i32,
    table: Option<[i8; 16]>,
    scales: Scales,
    has_min: bool,
}

/// How scales are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scales {
    /// Half precision, for each segment. With a minimum: a pair of halves.
    Half,
    /// Single precision, for each segment.
    Single,
    /// Of a super-block: a factor (and one of minima) in single precision, and this many bytes (and as many for minima).
    Super { groups: usize },
}

/// Bytes of a matrix on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowWords {
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) scales: usize,
}

impl RowWords {
    /// Bytes of a row.
    pub(crate) fn n_bytes(self) -> usize {
        4 * (self.low + self.high + self.scales)
    }

    /// Words of the largest plane.
    pub(crate) fn largest(self) -> usize {
        self.low.max(self.high).max(self.scales)
    }
}

/// Rows in the form of the device.
#[derive(Debug, Default)]
pub(crate) struct Planes {
    pub(crate) low: Vec<u32>,
    pub(crate) high: Vec<u32>,
    pub(crate) scales: Vec<u32>,
}

impl Planes {
    /// Forgets all rows; memory stays.
    pub(crate) fn clear(&mut self) {
        self.low.clear();
        self.high.clear();
        self.scales.clear();
    }
}

const fn codes(low_bits: usize, high_bits: usize, offset: i32, scales: Scales) -> Quantized {
    Quantized { low_bits, high_bits, step: 1, offset, table: None, scales, has_min: false }
}

const fn with_min(form: Quantized) -> Quantized {
    Quantized { has_min: true, ..form }
}

const fn indices(table: [i8; 16], scales: Scales) -> Quantized {
    Quantized { table: Some(table), ..codes(4, 0, 0, scales) }
}

const OF_32: Scales = Scales::Super { groups: 8 };
const OF_16: Scales = Scales::Super { groups: 16 };
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const MXFP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl Form {
    /// The form of a type of files.
    pub(crate) fn of(dtype: DType) -> Self {
        Self::Quantized(match dtype {
            DType::F32 => return Self::Float(Float::F32),
            DType::F16 => return Self::Float(Float::F16),
            DType::Bf16 => return Self::Float(Float::Bf16),
            DType::Q8_0 => codes(8, 0, 128, Scales::Half),
            DType::Q4_0 => codes(4, 0, 8, Scales::Half),
            DType::Q4_1 => with_min(codes(4, 0, 0, Scales::Half)),
            DType::Q5_0 => codes(4, 1, 16, Scales::Half),
            DType::Q5_1 => with_min(codes(4, 1, 0, Scales::Half)),
            DType::Q2K => with_min(codes(2, 0, 0, OF_16)),
            DType::Q3K => codes(2, 1, 4, OF_16),
            DType::Q4K => with_min(codes(4, 0, 0, OF_32)),
            DType::Q5K => with_min(codes(4, 1, 0, OF_32)),
            DType::Q6K => codes(4, 2, 32, OF_16),
            DType::Iq4Nl => indices(IQ4_NL, Scales::Half),
            DType::Mxfp4 => indices(MXFP4, Scales::Single),
            DType::Tq2_0 | DType::Tq1_0 => codes(2, 0, 1, Scales::Half),
            DType::Q1_0 => Quantized { step: 2, ..codes(1, 0, 1, Scales::Half) },
            DType::Iq4Xs
            | DType::Iq3S
            | DType::Iq3Xxs
            | DType::Iq2S
            | DType::Iq2Xs
            | DType::Iq2Xxs
            | DType::Iq1M
            | DType::Iq1S => indices(dtype.indexed().map_or(IQ4_NL, |format| format.table), OF_16),
        })
    }

    /// Words of a row of `cols` columns.
    pub(crate) fn row_words(&self, cols: usize) -> RowWords {
        let segments = cols.div_ceil(SEGMENT_LEN);
        match self {
            Self::Float(Float::F32) => RowWords { low: segments * 32, ..RowWords::default() },
            Self::Float(_) => RowWords { low: segments * 16, ..RowWords::default() },
            Self::Quantized(form) => RowWords {
                low: segments * form.low_bits,
                high: segments * form.high_bits,
                scales: match form.scales {
                    Scales::Half if !form.has_min => segments.div_ceil(2),
                    Scales::Half | Scales::Single => segments,
                    Scales::Super { .. } => segments.div_ceil(8) * form.super_words(),
                },
            },
        }
    }

    /// Whether weights are codes and scales.
    pub(crate) fn is_quantized(&self) -> bool {
        matches!(self, Self::Quantized(_))
    }

    /// Whether products may round the values to half precision: not if the file has them in single precision.
    pub(crate) fn may_be_halves(&self) -> bool {
        !matches!(self, Self::Float(Float::F32))
    }

    /// The text by which kernels read the values of this form.
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Float(float) => Source::default()
                .names(&["F32", "F16", "BF16"])
                .number("FLOAT", *float as usize)
                .text(include_str!("weights/float.wgsl")),
            Self::Quantized(form) => {
                let table = form.table.unwrap_or_default().map(|value| format!("{value}.0")).join(", ");
                form.constants()
                    .float("STEP", form.step as f32)
                    .float("OFFSET", form.offset as f32)
                    .line(&format!("var<private> TABLE: array<f32, 16> = array<f32, 16>({table});"))
                    .text(include_str!("weights/quantized.wgsl"))
            }
        }
    }

    /// The text by which kernels read the codes of this form, as signed bytes.
    ///
    /// # Panics
    /// If it has none.
    pub(crate) fn code_source(&self) -> Source {
        let Self::Quantized(form) = self else { unreachable!("floats have no codes") };
        let (low, signed_by) = match form.low_bits {
            8 => (include_str!("weights/low_8.wgsl"), 128),
            4 => (include_str!("weights/low_4.wgsl"), 0),
            2 => (include_str!("weights/low_2.wgsl"), 0),
            _ => (include_str!("weights/low_1.wgsl"), 0),
        };
        let table = form.table.unwrap_or_default().map(|value| value.to_string()).join(", ");
        form.constants()
            .line(&format!("const CODE_STEP: i32 = {};", form.step))
            .line(&format!("const CODE_OFFSET: i32 = {};", form.offset - form.step * signed_by))
            .line(&format!("var<private> TABLE_CODES: array<i32, 16> = array<i32, 16>({table});"))
            .text(low)
            .text(include_str!("weights/codes.wgsl"))
    }

    /// Appends a row of the file, `dtype`'s blocks of `cols` values, to `planes`.
    pub(crate) fn push_row(&self, dtype: DType, row: &[u8], cols: usize, planes: &mut Planes) {
        match self {
            Self::Float(Float::F32) => {
                planes.low.extend(row.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
                planes.low.resize(planes.low.len().next_multiple_of(SEGMENT_LEN), 0);
            }
            Self::Float(_) => {
                let (words, last) = row.as_chunks::<4>();
                planes.low.extend(words.iter().map(|bytes| u32::from_le_bytes(*bytes)));
                if let [low, high] = last {
                    planes.low.push(u32::from(u16::from_le_bytes([*low, *high])));
                }
                planes.low.resize(planes.low.len().next_multiple_of(SEGMENT_LEN / 2), 0);
            }
            Self::Quantized(form) => form.push_row(dtype, row, cols, planes),
        }
    }
}

impl Quantized {
    fn super_words(&self) -> usize {
        let Scales::Super { groups } = self.scales else { return 0 };
        (1 + groups / 4) * (1 + usize::from(self.has_min))
    }

    /// What both texts need, and the scales.
    fn constants(&self) -> Source {
        let (kind, groups) = match self.scales {
            Scales::Half => (0, 8),
            Scales::Single => (1, 8),
            Scales::Super { groups } => (2, groups),
        };
        Source::default()
            .names(&["HALF", "SINGLE", "SUPER"])
            .number("LOW_BITS", self.low_bits)
            .number("HIGH_BITS", self.high_bits)
            .number("SCALES", kind)
            .number("GROUPS", groups)
            .number("SUPER_WORDS", self.super_words())
            .flag("HAS_MIN", self.has_min)
            .flag("IS_TABLE", self.table.is_some())
            .text(include_str!("weights/scales.wgsl"))
    }

    fn push_row(&self, dtype: DType, row: &[u8], cols: usize, planes: &mut Planes) {
        let mut block = Block::default();
        let first_scale = planes.scales.len();
        let mut half = None;
        for bytes in row.chunks_exact(dtype.block_bytes()) {
            unpack(dtype, bytes, &mut block);
            let n_segments = dtype.block_len() / SEGMENT_LEN;
            for codes in block.codes.as_chunks::<SEGMENT_LEN>().0.iter().take(n_segments) {
                push_plane(codes, 0, self.low_bits, &mut planes.low);
                push_plane(codes, self.low_bits, self.high_bits, &mut planes.high);
                match self.scales {
                    Scales::Half if self.has_min => {
                        planes
                            .scales
                            .push(u32::from(block.d.to_bits()) | u32::from(block.d_min.to_bits()) << 16);
                    }
                    Scales::Half => match half.take() {
                        None => half = Some(block.d.to_bits()),
                        Some(first) => {
                            planes.scales.push(u32::from(first) | u32::from(block.d.to_bits()) << 16);
                        }
                    },
                    Scales::Single => planes.scales.push(block.factor.to_bits()),
                    Scales::Super { .. } => {}
                }
            }
            if let Scales::Super { groups } = self.scales {
                self.push_super(&block, groups, &mut planes.scales);
            }
        }
        planes.scales.extend(half.map(u32::from));
        let n_words = self.row_scale_words(cols);
        debug_assert_eq!(planes.scales.len() - first_scale, n_words, "{dtype}");
    }

    fn row_scale_words(&self, cols: usize) -> usize {
        Form::Quantized(*self).row_words(cols).scales
    }

    fn push_super(&self, block: &Block, groups: usize, words: &mut Vec<u32>) {
        words.push(block.factor.to_bits());
        if self.has_min {
            words.push(block.d_min.to_f32().to_bits());
        }
        let as_words = |bytes: &[u8; 16]| {
            bytes.as_chunks().0.iter().take(groups / 4).map(|b| u32::from_le_bytes(*b)).collect::<Vec<_>>()
        };
        words.extend(as_words(&block.scales.map(i8::cast_unsigned)));
        if self.has_min {
            words.extend(as_words(&block.mins));
        }
    }
}

/// Appends `n_bits` bits of the codes of a segment, from bit `shift` on.
fn push_plane(codes: &[u8; SEGMENT_LEN], shift: usize, n_bits: usize, words: &mut Vec<u32>) {
    if n_bits == 0 {
        return;
    }
    let quads_per_word = 8 / n_bits;
    let mask = if n_bits == 8 { 0xff } else { (1_u32 << n_bits) - 1 };
    for quads in codes.as_chunks::<4>().0.chunks(quads_per_word) {
        let mut word = 0;
        for (place, quad) in quads.iter().enumerate() {
            for (byte, &code) in quad.iter().enumerate() {
                word |= (u32::from(code) >> shift & mask) << (8 * byte + n_bits * place);
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests;
