//! Options of operations against plain loops in double precision. The golden models in `sm-model` have all operations together.

use sm_kernels::Restriction;
use sm_kernels::plan::{
    Activation, Epilogue, GatedLinear, GatherRows, Linear, MatrixPart, Norm, NormKind, Plan, PlanBuilder,
    Rows, SigmoidGate, Store, Xielu,
};
use sm_kernels::testing::{RandomWeights, random_values};
use sm_tensor::DType;

use crate::{assert_close, gpu, input, limits, prepare, restricted_gpu, trace};

const WIDTH: usize = 70;
const OUTPUTS: usize = 45;
const N_ROWS: usize = 11;

const ACTIVATIONS: [Activation; 4] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::GeluErf,
    Activation::Xielu(Xielu { alpha_p: 0.8, alpha_n: 0.7, beta: 0.5, eps: -1e-6 }),
];

/// A plan of the operations that `push` adds to the rows that the test brings, and its results; those of a plain GPU are close.
fn run(
    width: usize,
    push: impl FnOnce(&mut PlanBuilder) -> sm_kernels::plan::BufferId,
) -> Option<(RandomWeights, Vec<Vec<f32>>)> {
    let backends = [gpu()?, restricted_gpu(Restriction::PLAIN)?];
    let mut builder = PlanBuilder::new(200);
    let y = push(&mut builder);
    let logits = builder.buffer("logits", Rows::Outputs, width);
    builder.push(GatherRows { x: y, out: logits });
    let plan: Plan = builder.finish(logits);
    let weights = RandomWeights::new(&plan);
    let [all, plain] = backends
        .map(|backend| trace(&mut *prepare(&backend, &plan, &weights, limits()), N_ROWS, Some(&rows())));
    for (all, plain) in all.iter().zip(&plain) {
        assert_close("without subgroups", plain, all, all.len(), 1e-6);
    }
    Some((weights, all))
}

/// The rows that tests bring, up to 4 in magnitude.
fn rows() -> Vec<f32> {
    random_values("rows", N_ROWS * WIDTH).iter().map(|value| 4.0 * value).collect()
}

fn matrix(builder: &mut PlanBuilder, name: &str) -> sm_kernels::plan::MatrixId {
    let part = MatrixPart { tensor: name.to_owned(), dtype: DType::F32, rows: OUTPUTS };
    builder.matrix(name, WIDTH, vec![part])
}

fn dots(weights: &[f32], x: &[f32]) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
    x.chunks(WIDTH).flat_map(|x| weights.chunks(WIDTH).map(move |w| dot(x, w))).collect()
}

/// By the series of the error function, which converges everywhere.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Activation::Xielu(Xielu { alpha_p, alpha_n, beta, eps }) => {
            let [alpha_p, alpha_n, beta, eps] = [alpha_p, alpha_n, beta, eps].map(f64::from);
            let curve = if x > 0.0 { alpha_p * x * x } else { alpha_n * (x.min(eps).exp_m1() - x) };
            curve + beta * x
        }
    }
}

fn apply(epilogue: Epilogue, x: f64) -> f64 {
    match epilogue {
        Epilogue::None => x,
        Epilogue::Activation(activation) => activate(activation, x),
        Epilogue::SoftCap(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
        Epilogue::Scale(scale) => f64::from(scale) * x,
    }
}

#[test]
fn products_have_bias_epilogue_and_residual() {
    let activations = ACTIVATIONS.map(Epilogue::Activation);
    for epilogue in
        [Epilogue::None, Epilogue::SoftCap(3.0), Epilogue::Scale(0.25)].into_iter().chain(activations)
    {
        let ran = run(OUTPUTS, |builder| {
            let x = input(builder, WIDTH);
            let weight = matrix(builder, "weight");
            let bias = builder.vector("bias", OUTPUTS, vec!["bias".to_owned()]);
            let y = builder.buffer("y", Rows::Tokens, OUTPUTS);
            builder.push(Linear::new(x, weight, y));
            builder.push(Linear {
                bias: Some(bias),
                epilogue,
                store: Store::Add,
                ..Linear::new(x, weight, y)
            });
            y
        });
        let Some((weights, all)) = ran else { return };
        let bias = sm_kernels::plan::WeightSource::vector(&weights, "bias").unwrap();
        let sums = dots(&weights.values("weight"), &rows());
        let expected = sums
            .iter()
            .enumerate()
            .map(|(i, sum)| (sum + apply(epilogue, sum + f64::from(bias[i % OUTPUTS]))) as f32);
        let expected: Vec<f32> = expected.collect();
        assert_close(&format!("{epilogue:?}"), &all[2], &expected, OUTPUTS, 2e-6);
    }
}

#[test]
fn gates_multiply() {
    for activation in ACTIVATIONS {
        let ran = run(OUTPUTS, |builder| {
            let x = input(builder, WIDTH);
            let (gate, up) = (matrix(builder, "gate"), matrix(builder, "up"));
            let y = builder.buffer("y", Rows::Tokens, OUTPUTS);
            builder.push(GatedLinear { x, gate, up, activation, out: y });
            y
        });
        let Some((weights, all)) = ran else { return };
        let [gate, up] = ["gate", "up"].map(|name| dots(&weights.values(name), &rows()));
        let expected: Vec<f32> =
            gate.iter().zip(&up).map(|(gate, up)| (activate(activation, *gate) * up) as f32).collect();
        assert_close(&format!("{activation}"), &all[1], &expected, OUTPUTS, 2e-6);
    }
}

#[test]
fn norms_and_gates_of_rows_write_and_add() {
    for (kind, has_bias) in [(NormKind::Rms, false), (NormKind::Layer, false), (NormKind::Layer, true)] {
        let ran = run(WIDTH, |builder| {
            let x = input(builder, WIDTH);
            let weight = builder.vector("weight", WIDTH, vec!["weight".to_owned()]);
            let bias = builder.vector("bias", WIDTH, vec!["bias".to_owned()]);
            let y = builder.buffer("y", Rows::Tokens, WIDTH);
            let norm = Norm { x, kind, weight, bias: None, eps: 1e-5, store: Store::Write, out: y };
            builder.push(Norm { bias: has_bias.then_some(bias), ..norm });
            builder.push(SigmoidGate { x, weight, values: x, store: Store::Add, out: y });
            y
        });
        let Some((weights, all)) = ran else { return };
        let vector = |name| sm_kernels::plan::WeightSource::vector(&weights, name).unwrap();
        let (weight, bias) = (vector("weight"), vector("bias"));
        let mut expected = Vec::new();
        for x in rows().chunks(WIDTH) {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let n = WIDTH as f64;
            let mean = if kind == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let dot: f64 = x.iter().zip(&weight).map(|(x, w)| x * f64::from(*w)).sum();
            let gate = 1.0 / (1.0 + (-dot).exp());
            for (i, x) in x.iter().enumerate() {
                let normed = (x - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i]);
                let bias = if has_bias { f64::from(bias[i]) } else { 0.0 };
                expected.push((normed + bias + gate * x) as f32);
            }
        }
        assert_close(&format!("{kind} {has_bias}"), &all[2], &expected, WIDTH, 2e-6);
    }
}
