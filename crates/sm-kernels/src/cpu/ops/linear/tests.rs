//! Epilogues and gates, on every instruction set and with several workers.

use sm_tensor::DType;

use super::{GatedLinear, Linear, OutputColumns};
use crate::cpu::activations::int8::{BLOCK_LEN, Int8Block, encode_row};
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::ops::product::tests::{Activations, packed};
use crate::cpu::pack::PackedMatrix;
use crate::cpu::split::{By, Split};
use crate::cpu::team::Team;
use crate::plan::{Activation, Epilogue, Store};

#[derive(Clone, Copy)]
enum Case<'a> {
    Linear(Linear<'a>),
    Gated(GatedLinear<'a>),
}

impl Case<'_> {
    fn weight(&self) -> PackedMatrix<'_> {
        match self {
            Self::Linear(op) => op.weight,
            Self::Gated(op) => op.up,
        }
    }

    fn n_rows(&self) -> usize {
        match self {
            Self::Linear(op) => op.x.n_rows,
            Self::Gated(op) => op.x.n_rows,
        }
    }
}

/// Runs a case on outputs in both encodings, filled with ones before; int8 only if the width is whole blocks.
struct Run<'a> {
    case: Case<'a>,
    n_workers: usize,
}

impl IsaVisitor for Run<'_> {
    type Output = (Vec<f32>, Vec<Int8Block>);

    fn visit<I: Isa>(self, isa: I) -> Self::Output {
        let width = self.case.weight().rows();
        let n_blocks = if width.is_multiple_of(BLOCK_LEN) { width / BLOCK_LEN } else { 0 };
        let mut f32 = vec![1.0; self.case.n_rows() * width];
        let mut int8 = vec![Int8Block::ZERO; self.case.n_rows() * n_blocks];
        let f32_split = Split::new(&mut f32, width, By::Columns(BLOCK_LEN), self.n_workers);
        let int8_split =
            (n_blocks > 0).then(|| Split::new(&mut int8, n_blocks, By::Columns(1), self.n_workers));
        Team::new(self.n_workers)
            .unwrap()
            .run(|worker| {
                let int8 = int8_split.as_ref().map(|split| split.share(worker));
                let mut out = OutputColumns { f32: Some(f32_split.share(worker)), int8 };
                let mut workspace = ProductWorkspace::new(self.case.weight().cols());
                match self.case {
                    Case::Linear(op) => op.run(isa, &mut out, &mut workspace),
                    Case::Gated(op) => op.run(isa, &mut out, &mut workspace),
                }
                Ok(())
            })
            .unwrap();
        (f32, int8)
    }
}

fn run(case: Case<'_>) -> Vec<f32> {
    let want = IsaKind::Scalar.dispatch(Run { case, n_workers: 1 });
    let width = case.weight().rows();
    if width.is_multiple_of(BLOCK_LEN) {
        struct Encode<'a>(&'a [f32]);
        impl IsaVisitor for Encode<'_> {
            type Output = Vec<Int8Block>;
            fn visit<I: Isa>(self, isa: I) -> Vec<Int8Block> {
                let mut blocks = vec![Int8Block::ZERO; self.0.len() / BLOCK_LEN];
                encode_row(isa, self.0, &mut blocks);
                blocks
            }
        }
        // With `Store::Add` there is no int8 encoding.
        if !matches!(case, Case::Linear(Linear { store: Store::Add, .. })) {
            assert_eq!(IsaKind::Scalar.dispatch(Encode(&want.0)), want.1);
        }
    }
    for kind in IsaKind::available() {
        for n_workers in 1..=4 {
            let got = kind.dispatch(Run { case, n_workers });
            assert!(want == got, "{n_workers} workers, {} rows, {width} wide, {kind}", case.n_rows());
        }
    }
    want.0
}

fn assert_close(got: &[f32], want: impl Iterator<Item = f64>) {
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() <= 2e-6 * (1.0 + want.abs()), "{got}, not {want}, at {index}");
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[test]
fn bias_epilogue_and_store_follow_the_product() {
    for (dtype, cols, width) in [(DType::Q4_0, 64, 96), (DType::F32, 20, 33), (DType::Q6K, 256, 200)] {
        let weight = packed(cols, &[(dtype, width)]);
        let x = Activations::new(cols);
        let bias: Vec<f32> = (0..width).map(|i| i as f32 / 16.0 - 2.0).collect();
        for n_rows in [1, 2, 5, 17, 50] {
            let op = Linear {
                x: x.input(n_rows),
                weight: weight.matrix(),
                bias: None,
                epilogue: Epilogue::None,
                store: Store::Write,
            };
            let plain = run(Case::Linear(op));
            let with_bias: Vec<f32> = plain.iter().enumerate().map(|(i, y)| y + bias[i % width]).collect();
            let op = Linear { bias: Some(&bias), ..op };
            assert_eq!(run(Case::Linear(op)), with_bias);
            let added = run(Case::Linear(Linear { store: Store::Add, ..op }));
            assert_eq!(added, with_bias.iter().map(|y| 1.0 + y).collect::<Vec<_>>());
            let epilogue = Epilogue::Activation(Activation::Silu);
            let activated = run(Case::Linear(Linear { epilogue, ..op }));
            assert_close(&activated, with_bias.iter().map(|y| silu(f64::from(*y))));
            let capped = run(Case::Linear(Linear { epilogue: Epilogue::SoftCap(3.0), ..op }));
            assert_close(&capped, with_bias.iter().map(|y| 3.0 * (f64::from(*y) / 3.0).tanh()));
        }
    }
}

#[test]
fn gated_product_multiplies_activated_gate_and_up() {
    for (gate_dtype, up_dtype) in [(DType::Q8_0, DType::Q8_0), (DType::Q4_0, DType::F16)] {
        let cols = 64;
        let width = 160;
        let gate = packed(cols, &[(gate_dtype, width)]);
        let up = packed(cols, &[(up_dtype, width)]);
        let x = Activations::new(cols);
        for n_rows in [1, 4, 6, 31] {
            let linear = |weight| Linear {
                x: x.input(n_rows),
                weight,
                bias: None,
                epilogue: Epilogue::None,
                store: Store::Write,
            };
            let gates = run(Case::Linear(linear(gate.matrix())));
            let ups = run(Case::Linear(linear(up.matrix())));
            let op = GatedLinear {
                x: x.input(n_rows),
                gate: gate.matrix(),
                up: up.matrix(),
                activation: Activation::Silu,
            };
            let want = gates.iter().zip(&ups).map(|(gate, up)| silu(f64::from(*gate)) * f64::from(*up));
            assert_close(&run(Case::Gated(op)), want);
        }
    }
}
