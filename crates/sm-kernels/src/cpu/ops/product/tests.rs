//! Products of every format, on every instruction set, at sizes around every tile edge.

use std::ops::Range;

use sm_tensor::DType;

use super::{ProductWorkspace, Sink, product};
use crate::cpu::activations::InputRows;
use crate::cpu::activations::bf16::{self, Bf16Slot};
use crate::cpu::activations::int8::{BLOCK_LEN, Int8Block, encode_row};
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::cpu::pack::PackedMatrix;
use crate::cpu::pack::tests::{Packed, RandomTensor};
use crate::plan::{MatrixDecl, MatrixPart, WeightError, WeightSource};

const ROWS: usize = 50;
const OUTPUTS: usize = 100;

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Tensors of normal-sized weights, named by their data type.
struct Tensors {
    cols: usize,
}

impl Tensors {
    fn bytes(&self, dtype: DType, rows: Range<usize>) -> Vec<u8> {
        let values = random(rows.end * self.cols, dtype as u64 + 7);
        let values = &values[rows.start * self.cols..];
        crate::testing::encoded(dtype, values)
    }
}

impl WeightSource for Tensors {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        *buffer = self.bytes(tensor.parse().unwrap(), rows);
        Ok(buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        Err(WeightError::Missing { tensor: tensor.to_owned() })
    }
}

pub(crate) fn packed(cols: usize, parts: &[(DType, usize)]) -> Packed {
    let part = |&(dtype, rows): &(DType, usize)| MatrixPart { tensor: dtype.to_string(), dtype, rows };
    let decl = MatrixDecl { name: "w".to_owned(), cols, parts: parts.iter().map(part).collect() };
    let all = 0..decl.rows();
    Packed::new(&decl, &Tensors { cols }, std::slice::from_ref(&all)).0
}

/// Random activations, in `f32` and int8.
pub(crate) struct Activations {
    cols: usize,
    f32: Vec<f32>,
    int8: Vec<Int8Block>,
}

impl Activations {
    pub(crate) fn new(cols: usize) -> Self {
        struct Encode<'a>(&'a [f32]);
        impl IsaVisitor for Encode<'_> {
            type Output = Vec<Int8Block>;
            fn visit<I: Isa>(self, isa: I) -> Vec<Int8Block> {
                let mut blocks = vec![Int8Block::ZERO; self.0.len() / BLOCK_LEN];
                encode_row(isa, self.0, &mut blocks);
                blocks
            }
        }
        let f32 = random(ROWS * cols, 3);
        let int8 =
            if cols.is_multiple_of(BLOCK_LEN) { IsaKind::Scalar.dispatch(Encode(&f32)) } else { Vec::new() };
        Self { cols, f32, int8 }
    }

    pub(crate) fn input(&self, n_rows: usize) -> InputRows<'_> {
        let f32_stride = self.cols;
        let int8_stride = self.cols / BLOCK_LEN;
        let f32 = &self.f32;
        let int8 = &self.int8;
        InputRows { f32, f32_stride, bf16: &[], int8, int8_stride, n_rows, row_indices: None }
    }
}

/// A sink that keeps the results, `[n_rows, columns]`.
struct Keep {
    columns: Range<usize>,
    values: Vec<f32>,
}

impl Sink<1> for Keep {
    #[inline(always)]
    fn put<I: Isa>(&mut self, _isa: I, row: usize, columns: Range<usize>, [values]: [&mut [f32]; 1]) {
        let first = row * self.columns.len() + columns.start - self.columns.start;
        self.values[first..first + columns.len()].copy_from_slice(&values[..columns.len()]);
    }
}

struct Product<'a> {
    input: InputRows<'a>,
    matrix: PackedMatrix<'a>,
    columns: Range<usize>,
}

impl IsaVisitor for Product<'_> {
    type Output = Vec<f32>;
    fn visit<I: Isa>(self, isa: I) -> Vec<f32> {
        let values = vec![f32::NAN; self.input.n_rows * self.columns.len()];
        let mut keep = Keep { columns: self.columns.clone(), values };
        let cols = self.matrix.cols();
        let mut workspace = ProductWorkspace::new(cols);
        let stride = bf16::stride(cols);
        let mut rounded = vec![Bf16Slot::default(); self.input.f32.len() / cols * stride];
        for (row, out) in self.input.f32.chunks(cols).zip(rounded.chunks_mut(stride)) {
            bf16::round_row(isa, row, out);
        }
        let input = InputRows { bf16: &rounded, ..self.input };
        product(isa, &input, [self.matrix], self.columns, &mut keep, &mut workspace);
        keep.values
    }
}

/// All rows times all outputs, one row at a time on the scalar set: the bits that everything else must give.
fn reference(matrix: PackedMatrix<'_>, x: &Activations) -> Vec<f32> {
    let one = |row: u32| {
        let input = InputRows { row_indices: Some(&[row]), ..x.input(1) };
        IsaKind::Scalar.dispatch(Product { input, matrix, columns: 0..matrix.rows() })
    };
    (0..ROWS as u32).flat_map(one).collect()
}

fn columns_of(dtype: DType) -> Vec<usize> {
    match dtype.block_len() {
        1 => vec![1, 7, 32, 130],
        32 => vec![32, 64, 96, 160],
        block_len => vec![block_len, 2 * block_len],
    }
}

#[test]
fn products_match_double_precision() {
    for dtype in DType::all() {
        for cols in columns_of(dtype) {
            let packed = packed(cols, &[(dtype, OUTPUTS)]);
            let x = Activations::new(cols);
            let got = reference(packed.matrix(), &x);
            let mut w = vec![0.0; OUTPUTS * cols];
            sm_tensor::dequantize(dtype, &Tensors { cols }.bytes(dtype, 0..OUTPUTS), &mut w).unwrap();
            let decoded = || x.int8.iter().flat_map(Int8Block::decode).collect();
            let x: Vec<f32> = match dtype {
                DType::Bf16 => x.f32.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect(),
                _ if dtype.is_quantized() => decoded(),
                _ => x.f32.clone(),
            };
            for (index, got) in got.iter().enumerate() {
                let x = &x[index / OUTPUTS * cols..][..cols];
                let w = &w[index % OUTPUTS * cols..][..cols];
                let want: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                // A weight may be the difference of two numbers of up to twice the largest weight, which is below 1.1.
                let size: f64 =
                    w.iter().zip(x).map(|(w, x)| (w.abs() + 2.2).min(3.0) as f64 * f64::from(x.abs())).sum();
                let size = if dtype.is_quantized() { size } else { size.min(2.0 * cols as f64) };
                let n_roundings = (cols / 8 + 8) as f64;
                let bound = f64::from(f32::EPSILON) * n_roundings * size;
                assert!(
                    (f64::from(*got) - want).abs() <= bound,
                    "{dtype} cols {cols} at {index}: {got}, not {want}"
                );
            }
        }
    }
}

#[test]
fn every_set_and_every_size_gives_the_same_bits() {
    for dtype in DType::all() {
        for cols in columns_of(dtype) {
            let x = Activations::new(cols);
            let want = reference(packed(cols, &[(dtype, OUTPUTS)]).matrix(), &x);
            for outputs in [1, 15, 16, 17, 31, 32, 33, 64, 100] {
                let packed = packed(cols, &[(dtype, outputs)]);
                for n_rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 33, ROWS] {
                    for kind in IsaKind::available() {
                        let got = kind.dispatch(Product {
                            input: x.input(n_rows),
                            matrix: packed.matrix(),
                            columns: 0..outputs,
                        });
                        for (row, got) in got.chunks(outputs).enumerate() {
                            let want = &want[row * OUTPUTS..][..outputs];
                            assert_eq!(
                                want, got,
                                "{dtype} cols {cols}, row {row} of {n_rows}, {outputs} outputs, {kind}"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Random bits of single precision with these exponents.
fn magnitudes(n: usize, seed: u64, exponents: Range<u32>) -> impl Iterator<Item = u32> {
    let bits = random(n, seed).into_iter().map(f32::to_bits);
    bits.zip(random(n, seed + 1)).map(move |(bits, size)| {
        let exponent = exponents.start + (size.abs() * exponents.len() as f32) as u32;
        bits & 0x807f_ffff | exponent << 23
    })
}

/// All magnitudes whose products do not overflow, subnormal ones included; then those whose products would be around
/// the least normal number, were small factors not zero.
#[test]
fn bf16_of_any_magnitude_gives_the_same_bits_and_no_subnormal_numbers() {
    for (cols, exponents) in [(130, 0..177), (6, 47..77)] {
        let part = MatrixPart { tensor: "w".to_owned(), dtype: DType::Bf16, rows: OUTPUTS };
        let decl = MatrixDecl { name: "w".to_owned(), cols, parts: vec![part] };
        let weights = magnitudes(OUTPUTS * cols, 11, exponents.clone());
        let bytes = weights.flat_map(|bits| ((bits >> 16) as u16).to_le_bytes()).collect();
        let source = RandomTensor { bytes, row_bytes: 2 * cols };
        let packed = Packed::new(&decl, &source, std::slice::from_ref(&(0..OUTPUTS))).0;
        let f32 = magnitudes(ROWS * cols, 21, exponents).map(f32::from_bits).collect();
        let x = Activations { cols, f32, int8: Vec::new() };
        let want = reference(packed.matrix(), &x);
        assert!(want.iter().all(|value| *value == 0.0 || value.is_normal()));
        assert!(want.iter().any(|value| *value != 0.0));
        for kind in IsaKind::available() {
            let input = x.input(ROWS);
            let got = kind.dispatch(Product { input, matrix: packed.matrix(), columns: 0..OUTPUTS });
            assert!(want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits()), "{cols} columns, {kind}");
        }
    }
}

#[test]
fn gathered_rows_and_column_ranges_give_the_same_bits() {
    for dtype in [DType::Q4_0, DType::Q6K, DType::Bf16] {
        let cols = 256;
        let packed = packed(cols, &[(dtype, OUTPUTS)]);
        let x = Activations::new(cols);
        let want = reference(packed.matrix(), &x);
        for columns in [0..32, 32..64, 16..48, 5..40, 47..48, 64..100] {
            for gathered in [&[7_u32][..], &[3, 1, 49], &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]] {
                for kind in IsaKind::available() {
                    let input = InputRows { row_indices: Some(gathered), ..x.input(gathered.len()) };
                    let got =
                        kind.dispatch(Product { input, matrix: packed.matrix(), columns: columns.clone() });
                    for (got, row) in got.chunks(columns.len()).zip(gathered) {
                        let want = &want[*row as usize * OUTPUTS..][columns.clone()];
                        assert_eq!(want, got, "{dtype}, row {row}, columns {columns:?}, {kind}");
                    }
                }
            }
        }
    }
}

#[test]
fn stacked_tensors_of_any_size_and_format_are_one_matrix() {
    let cols = 64;
    let floats = [(DType::F32, 11), (DType::Bf16, 13)];
    let quantized = [(DType::Q4_0, 3), (DType::Q4_0, 2), (DType::Q5_1, 40)];
    let parts = [&[(DType::Q8_0, 8)], &floats[..], &quantized].concat();
    let stacked = packed(cols, &parts);
    let x = Activations::new(cols);
    let alone = |&part: &(DType, usize)| (part.1, reference(packed(cols, &[part]).matrix(), &x));
    let wants: Vec<_> = parts.iter().map(alone).collect();
    for n_rows in [1, 4, 5, 13, ROWS] {
        for columns in [0..77, 0..32, 32..64, 30..38] {
            for kind in IsaKind::available() {
                let got = kind.dispatch(Product {
                    input: x.input(n_rows),
                    matrix: stacked.matrix(),
                    columns: columns.clone(),
                });
                for (row, got) in got.chunks(columns.len()).enumerate() {
                    let parts = wants.iter().flat_map(|(rows, want)| &want[row * rows..][..*rows]);
                    let want: Vec<f32> = parts.copied().collect();
                    assert_eq!(want[columns.clone()], *got, "{n_rows} rows, columns {columns:?}, {kind}");
                }
            }
        }
    }
}
