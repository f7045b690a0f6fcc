//! Packed rows against the formats of `sm-tensor`, and how packing is split over workers.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use sm_tensor::DType;

use super::{Line, MatrixLayout, PackedMatrix};
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor, MIN_BF16};
use crate::plan::{MatrixDecl, MatrixPart, WeightError, WeightSource};

/// One tensor's rows of random bytes.
pub(crate) struct RandomTensor {
    pub(crate) bytes: Vec<u8>,
    pub(crate) row_bytes: usize,
}

impl RandomTensor {
    fn new(dtype: DType, rows: usize, cols: usize) -> Self {
        let row_bytes = dtype.row_bytes(cols).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (dtype as u64);
        let bytes = (0..rows * row_bytes).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        Self { bytes: bytes.collect(), row_bytes }
    }
}

impl WeightSource for RandomTensor {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        _buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        let missing = || WeightError::Missing { tensor: tensor.to_owned() };
        let range = rows.start * self.row_bytes..rows.end * self.row_bytes;
        self.bytes.get(range).ok_or_else(missing)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        Err(WeightError::Missing { tensor: tensor.to_owned() })
    }
}

fn decl(cols: usize, parts: &[(DType, usize)]) -> MatrixDecl {
    let part = |&(dtype, rows): &(DType, usize)| MatrixPart { tensor: dtype.to_string(), dtype, rows };
    MatrixDecl { name: "w".to_owned(), cols, parts: parts.iter().map(part).collect() }
}

/// A matrix that owns its lines.
pub(crate) struct Packed {
    layout: MatrixLayout,
    lines: Vec<Line>,
}

impl Packed {
    /// Packs `decl`, with its rows split into `shares`. Also returns the number of bytes read.
    pub(crate) fn new(decl: &MatrixDecl, source: &dyn WeightSource, shares: &[Range<usize>]) -> (Self, u64) {
        let layout = MatrixLayout::new(decl).unwrap();
        let mut lines = vec![Line([0; 64]); layout.n_lines()];
        let n_bytes = AtomicU64::new(0);
        for mut share in layout.shares(&mut lines, shares) {
            share.pack(source, &mut Vec::new(), &n_bytes).unwrap();
        }
        (Self { layout, lines }, n_bytes.into_inner())
    }

    pub(crate) fn matrix(&self) -> PackedMatrix<'_> {
        self.layout.over(&self.lines)
    }
}

struct Row<'a> {
    matrix: PackedMatrix<'a>,
    row: usize,
}

impl IsaVisitor for Row<'_> {
    type Output = Vec<f32>;
    fn visit<I: Isa>(self, isa: I) -> Vec<f32> {
        let mut out = vec![0.0; self.matrix.cols()];
        self.matrix.dequantize_row(isa, self.row, &mut out);
        out
    }
}

#[test]
fn packed_rows_decode_bit_identically() {
    for dtype in DType::all() {
        let cols = if dtype.is_quantized() { dtype.block_len() * 3 } else { 37 };
        for (n_rows, n_workers) in [(1, 1), (16, 2), (47, 1), (47, 3), (200, 2)] {
            let source = RandomTensor::new(dtype, n_rows, cols);
            let shares: Vec<_> =
                (0..n_workers).map(|i| n_rows * i / n_workers..n_rows * (i + 1) / n_workers).collect();
            let (packed, n_bytes) = Packed::new(&decl(cols, &[(dtype, n_rows)]), &source, &shares);
            assert_eq!(n_bytes, source.bytes.len() as u64);
            let mut want = vec![0.0; cols];
            let mut buffer = Vec::new();
            for row in 0..n_rows {
                let bytes = source.matrix_rows("", row..row + 1, &mut buffer).unwrap();
                sm_tensor::dequantize(dtype, bytes, &mut want).unwrap();
                if dtype == DType::Bf16 {
                    want.iter_mut().filter(|value| value.abs() < MIN_BF16).for_each(|value| *value = 0.0);
                }
                for kind in IsaKind::available() {
                    let got = kind.dispatch(Row { matrix: packed.matrix(), row });
                    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                    assert!(want.iter().zip(&got).all(same), "{dtype} row {row} of {n_rows} on {kind}");
                }
            }
        }
    }
}

/// Types that are packed in a wider format, and by how many percent they may be larger than the file.
const WIDER: [(DType, usize); 8] = [
    (DType::Iq3S, 28),
    (DType::Iq3Xxs, 43),
    (DType::Iq2S, 81),
    (DType::Iq2Xs, 100),
    (DType::Iq2Xxs, 113),
    (DType::Iq1M, 165),
    (DType::Iq1S, 180),
    (DType::Tq1_0, 26),
];

#[test]
fn panels_are_at_most_6_percent_larger_than_the_file_or_known_to_be_wider() {
    for dtype in DType::all() {
        let percent = WIDER.iter().find(|(wider, _)| *wider == dtype).map_or(6, |(_, percent)| *percent);
        let n_bytes = MatrixLayout::new(&decl(2048, &[(dtype, 64)])).unwrap().n_lines() * size_of::<Line>();
        let file_bytes = 64 * dtype.row_bytes(2048).unwrap();
        assert!(n_bytes * 100 <= file_bytes * (100 + percent), "{dtype}: {n_bytes} for {file_bytes} bytes");
    }
}

#[test]
fn partial_blocks_and_missing_tensors_are_errors() {
    let error = MatrixLayout::new(&decl(48, &[(DType::Q4_0, 4)])).unwrap_err().to_string();
    assert!(error.contains("48") && error.contains("q4_0"), "{error}");
    let source = RandomTensor::new(DType::Q4_0, 16, 32);
    let layout = MatrixLayout::new(&decl(32, &[(DType::Q4_0, 40)])).unwrap();
    let mut lines = vec![Line([0; 64]); layout.n_lines()];
    let all = 0..layout.rows();
    let mut shares = layout.shares(&mut lines, std::slice::from_ref(&all));
    let error = shares[0].pack(&source, &mut Vec::new(), &AtomicU64::new(0)).unwrap_err();
    assert!(error.to_string().contains("q4_0"), "{error}");
}

#[test]
fn panels_cover_the_rows_of_every_tensor() {
    let parts = [(DType::Q8_0, 8), (DType::F32, 24), (DType::Q4_0, 40), (DType::F16, 16)];
    let layout = MatrixLayout::new(&decl(64, &parts)).unwrap();
    let lines = vec![Line([0; 64]); layout.n_lines()];
    let matrix = layout.over(&lines);
    assert_eq!((matrix.rows(), matrix.cols()), (88, 64));
    let runs =
        |rows| matrix.panels(rows).map(|run| (run.dtype, run.first_row, run.len())).collect::<Vec<_>>();
    assert_eq!(runs(0..32), [(DType::Q8_0, 0, 1), (DType::F32, 8, 2)]);
    assert_eq!(runs(32..64), [(DType::Q4_0, 32, 2)]);
    assert_eq!(runs(60..88), [(DType::Q4_0, 48, 2), (DType::F16, 72, 1)]);
    assert_eq!(runs(31..31), []);
}
