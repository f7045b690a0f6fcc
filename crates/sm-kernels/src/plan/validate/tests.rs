//! One broken plan per rule.

use sm_tensor::DType;

use super::*;
use crate::plan::{
    Activation, BufferDecl, BufferId, Epilogue, Experts, Input, KvId, MatrixDecl, MatrixId, NormOrder,
    QueryScale, RopeId, SigmoidGate, StateLayout, VectorId, Xielu,
};
use crate::testing;

fn buffer<'p>(plan: &'p mut Plan, name: &str) -> &'p mut BufferDecl {
    plan.buffers.iter_mut().find(|buffer| buffer.name == name).unwrap()
}

fn matrix<'p>(plan: &'p mut Plan, name: &str) -> &'p mut MatrixDecl {
    plan.matrices.iter_mut().find(|matrix| matrix.name == name).unwrap()
}

/// The first op of a kind.
fn op<'p>(plan: &'p mut Plan, name: &str) -> &'p mut Op {
    plan.ops.iter_mut().find(|op| op.name() == name).unwrap()
}

/// Changes fields of the first op of a kind.
macro_rules! set {
    ($plan:expr, $kind:ident $name:literal, $($field:ident = $value:expr),+) => {
        match op($plan, $name) {
            Op::$kind(op) => { $(op.$field = $value;)+ }
            other => panic!("{other:?}"),
        }
    };
}

fn experts(plan: &mut Plan, change: impl Fn(&mut Experts)) {
    match op(plan, "moe_ffn") {
        Op::MoeFfn(op) => change(&mut op.experts),
        other => panic!("{other:?}"),
    }
}

/// Where the rule breaks, what the error says, and the change that breaks it.
type Case = (usize, &'static str, fn(&mut Plan));

fn check(good: &Plan, cases: &[Case]) {
    good.validate().unwrap();
    for &(at, expected, change) in cases {
        let mut plan = good.clone();
        change(&mut plan);
        match plan.validate() {
            Err(PrepareError::InvalidPlan { op, reason }) => {
                assert!(
                    op == at && reason.contains(expected),
                    "{expected:?} at {at}: got {reason:?} at {op}"
                );
            }
            other => panic!("{expected:?}: got {other:?}"),
        }
    }
}

#[test]
fn declarations_keep_their_rules() {
    let cases: &[Case] = &[
        (0, "there is no buffer 99", |p| set!(p, Embed "embed", out = BufferId(99))),
        (0, "there is no matrix 99", |p| set!(p, Embed "embed", table = MatrixId(99))),
        (1, "there is no vector 99", |p| set!(p, Norm "norm", weight = VectorId(99))),
        (3, "there is no rope 99", |p| set!(p, RopeStore "rope_store", rope = Some(RopeId(99)))),
        (3, "there is no layer 9", |p| set!(p, RopeStore "rope_store", kv = KvId(9))),
        (0, "has width 0", |p| buffer(p, "x").width = 0),
        (2, "is empty", |p| matrix(p, "qkv.0").parts.clear()),
        (2, "is empty", |p| matrix(p, "qkv.0").cols = 0),
        (2, "has no rows", |p| matrix(p, "qkv.0").parts[1].rows = 0),
        (2, "cannot have 65 q8_0 columns", |p| matrix(p, "qkv.0").cols = 65),
        (2, "cannot have 64 q8_0 columns", |p| matrix(p, "qkv.0").parts[0].rows = usize::MAX),
        (1, "vector \"norm\" is empty", |p| p.vectors[0].parts.clear()),
        (3, "the rope turns 18 values of heads of 16", |p| p.ropes[0].inv_freq.push(0.5)),
        (3, "the rope turns 0 values", |p| p.ropes[0].inv_freq.clear()),
        (3, "frequency of the rope is not finite", |p| p.ropes[0].inv_freq[1] = f32::NAN),
        (3, "scale of the rope is 0", |p| p.ropes[0].scale = 0.0),
        (3, "the pages have 0 heads", |p| p.cache.pages[0].n_kv_heads = 0),
        (20, "the context length is 0", |p| p.context_len = 0),
        (20, "there is no buffer 99", |p| p.logits = Some(BufferId(99))),
        (20, "there is no buffer 99", |p| p.hidden = Some(BufferId(99))),
        (20, "neither a hidden state nor logits", |p| (p.hidden, p.logits) = (None, None)),
        (20, "state \"delta\" has no values", |p| {
            p.cache.states.push(StateLayout { name: "delta".to_owned(), len: 0 });
        }),
        (20, "layers begin at ops [1, 20]", |p| p.layer_starts[1] = 20),
        (20, "layers begin at ops [9, 9]", |p| p.layer_starts[0] = 9),
        (20, "must be Outputs", |p| p.logits = Some(BufferId(0))),
        (19, "\"logits\" is read before it is written", |p| p.ops.truncate(19)),
        (1, "another op takes the step's input already", |p| {
            let input = Input { out: p.ops[0].writes()[0].buffer };
            p.ops.splice(0..1, [input.into(), input.into()]);
        }),
    ];
    check(&testing::decoder(DType::Q8_0), cases);
}

#[test]
fn buffers_and_pages_are_written_before_they_are_read() {
    let cases: &[Case] = &[
        (0, "\"x\" is read before it is written", |p| {
            p.ops.remove(0);
        }),
        (1, "reads the buffer that it writes", |p| {
            let x = p.ops[1].reads()[0].buffer;
            set!(p, Norm "norm", out = x);
        }),
        (1, "adds to buffer \"h\" before it is written", |p| set!(p, Norm "norm", store = Store::Add)),
        (
            4,
            "pages of layer 1 are read before they are written",
            |p| set!(p, Attention "attention", kv = KvId(1)),
        ),
    ];
    check(&testing::decoder(DType::Q8_0), cases);
}

#[test]
fn rows_agree() {
    let cases: &[Case] = &[
        (0, "\"x\" must be Tokens", |p| buffer(p, "x").rows = Rows::Outputs),
        (1, "\"h\" must be Tokens", |p| buffer(p, "h").rows = Rows::Outputs),
        (2, "\"qkv\" must be Tokens", |p| buffer(p, "qkv").rows = Rows::Outputs),
        (3, "\"q\" must be Tokens", |p| buffer(p, "q").rows = Rows::Outputs),
        (4, "\"attn\" must be Tokens", |p| buffer(p, "attn").rows = Rows::Outputs),
        (7, "\"ffn\" must be Tokens", |p| buffer(p, "ffn").rows = Rows::Outputs),
        (17, "\"out\" must be Outputs", |p| buffer(p, "out").rows = Rows::Tokens),
        (19, "\"logits\" must be Outputs", |p| buffer(p, "logits").rows = Rows::Tokens),
    ];
    check(&testing::decoder(DType::Q8_0), cases);
}

#[test]
fn widths_agree() {
    let cases: &[Case] = &[
        (0, "the width of the output is 64 but must be 60", |p| matrix(p, "table").cols = 60),
        (1, "the length of weight \"norm\" is 63 but must be 64", |p| p.vectors[0].len = 63),
        (1, "the width of the output is 96 but must be 64", |p| buffer(p, "h").width = 96),
        (2, "the width of buffer \"h\" is 64 but must be 96", |p| matrix(p, "qkv.0").cols = 96),
        (2, "the width of buffer \"qkv\" is 128 but must be 129", |p| matrix(p, "qkv.0").parts[0].rows = 65),
        (3, "q is 60 wide, no multiple of the head dimension 16", |p| buffer(p, "q").width = 60),
        (3, "is 128 wide, not q's 48 and 64", |p| buffer(p, "q").width = 48),
        (4, "the width of the output is 96 but must be 64", |p| buffer(p, "attn").width = 96),
        (7, "the rows of up is 97 but must be 96", |p| matrix(p, "up.0").parts[0].rows = 97),
        (17, "the width of the output is 65 but must be 64", |p| buffer(p, "out").width = 65),
        (19, "the width of buffer \"logits\" is 41 but must be 40", |p| buffer(p, "logits").width = 41),
    ];
    check(&testing::decoder(DType::Q8_0), cases);
}

#[test]
fn parameters_are_in_range() {
    let cases: &[Case] = &[
        (0, "the scale is inf", |p| set!(p, Embed "embed", scale = f32::INFINITY)),
        (0, "32 learned positions for a context of 600", |p| {
            matrix(p, "down.0").cols = 64;
            matrix(p, "down.0").parts[0].dtype = DType::F32;
            matrix(p, "down.0").parts[0].rows = 32;
            let down = p.matrices.iter().position(|matrix| matrix.name == "down.0").unwrap();
            set!(p, Embed "embed", positions = Some(MatrixId(down as u32)));
        }),
        (1, "an RMS norm has no bias", |p| set!(p, Norm "norm", bias = Some(VectorId(0)))),
        (1, "eps is NaN", |p| set!(p, Norm "norm", eps = f32::NAN)),
        (2, "the soft cap is 0", |p| set!(p, Linear "linear", epilogue = Epilogue::SoftCap(0.0))),
        (
            2,
            "the scale of the result is NaN",
            |p| set!(p, Linear "linear", epilogue = Epilogue::Scale(f32::NAN)),
        ),
        (
            2,
            "the length of bias \"norm\" is 64 but must be 128",
            |p| set!(p, Linear "linear", bias = Some(VectorId(0))),
        ),
        (
            3,
            "the length of head norm \"norm\" is 64 but must be 16",
            |p| set!(p, RopeStore "rope_store", k_norm = Some(VectorId(0))),
        ),
        (2, "the parameters of xielu NaN 1 0.5 0.0 are out of range", |p| {
            let xielu = Xielu { alpha_p: f32::NAN, alpha_n: 1.0, beta: 0.5, eps: 0.0 };
            set!(p, Linear "linear", epilogue = Epilogue::Activation(Activation::Xielu(xielu)));
        }),
        (3, "the interval of the query scale is 0", |p| {
            set!(p, RopeStore "rope_store", q_scale = Some(QueryScale { beta: 0.1, interval: 0 }));
        }),
        (3, "beta of the query scale is -1", |p| {
            set!(p, RopeStore "rope_store", q_scale = Some(QueryScale { beta: -1.0, interval: 8 }));
        }),
        (3, "the length of head norm \"norm\" is 64 but must be 16", |p| {
            let order = NormOrder::AfterRope;
            set!(p, RopeStore "rope_store", q_norm = Some(VectorId(0)), norm_order = order);
        }),
        (4, "3 query heads are no multiple of 2", |p| set!(p, Attention "attention", n_heads = 3)),
        (4, "the width of q is 64 but must be 32", |p| set!(p, Attention "attention", n_heads = 2)),
        (4, "overflows", |p| set!(p, Attention "attention", n_heads = usize::MAX - 1)),
        (4, "the scale is NaN", |p| set!(p, Attention "attention", scale = f32::NAN)),
        (4, "the window is 0", |p| set!(p, Attention "attention", window = Some(0))),
        (4, "the soft cap is -1", |p| set!(p, Attention "attention", soft_cap = Some(-1.0))),
    ];
    check(&testing::decoder(DType::Q8_0), cases);
}

#[test]
fn gates_fit() {
    let cases: &[Case] = &[
        (7, "there is no vector 99", |p| set!(p, SigmoidGate "sigmoid_gate", weight = VectorId(99))),
        (
            7,
            "the length of gate \"norm\" is 64 but must be 128",
            |p| set!(p, SigmoidGate "sigmoid_gate", x = BufferId(3)),
        ),
        (
            7,
            "\"ffn\" is read before it is written",
            |p| set!(p, SigmoidGate "sigmoid_gate", values = BufferId(2)),
        ),
        (
            7,
            "the width of the output is 96 but must be 64",
            |p| set!(p, SigmoidGate "sigmoid_gate", store = Store::Write, out = BufferId(2)),
        ),
    ];
    let mut plan = testing::decoder(DType::Q8_0);
    let [x, h] = [0, 1].map(BufferId);
    let gate = SigmoidGate { x: h, weight: VectorId(0), values: h, store: Store::Add, out: x };
    plan.ops.insert(7, gate.into());
    plan.layer_starts[1] += 1;
    check(&plan, cases);
}

#[test]
fn experts_fit() {
    let cases: &[Case] = &[
        (2, "chooses 0 of 4 experts", |p| experts(p, |experts| experts.top_k = 0)),
        (2, "chooses 5 of 4 experts", |p| experts(p, |experts| experts.top_k = 5)),
        (2, "the rows of the router is 4 but must be 5", |p| experts(p, |experts| experts.n_experts = 5)),
        (2, "the rows of gate is 160 but must be 128", |p| matrix(p, "gate").parts[0].rows = 64),
        (2, "the rows of up is 160 but must be 128", |p| matrix(p, "up").parts[0].rows = 64),
        (2, "the rows of down is 257 but must be 256", |p| matrix(p, "down").parts[0].rows = 65),
        (2, "\"y\" must be Tokens", |p| buffer(p, "y").rows = Rows::Outputs),
    ];
    check(&testing::experts(DType::Q8_0), cases);
}
