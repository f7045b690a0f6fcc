//! Specs that contradict themselves are refused, and the cache layout follows from the layers.

use sm_kernels::plan::{CacheLayout, PageGroup, QueryScale, RopePairs};

use super::*;

fn attention(n_kv_heads: usize, head_dim: usize) -> AttentionSpec {
    AttentionSpec::new(4, n_kv_heads, head_dim)
}

/// A decoder with one layer for each attention.
fn decoder(attentions: impl IntoIterator<Item = AttentionSpec>) -> DecoderSpec {
    let ffn = FfnSpec::gated(64, Activation::Silu);
    DecoderSpec {
        architecture: "llama",
        vocab_size: 10,
        hidden_size: 32,
        max_context_len: 128,
        embedding: EmbeddingSpec { scale: 1.0, learned_positions: false },
        norm: NormSpec { kind: NormKind::Rms, eps: 1e-5, weight_offset: 0.0 },
        layers: attentions.into_iter().map(|attention| LayerSpec::new(attention, ffn)).collect(),
        head: HeadSpec::new(false),
        naming: Naming::gguf(),
    }
}

#[test]
fn consecutive_layers_of_one_shape_share_a_page_group() {
    let windowed = AttentionSpec { window: Some(8), ..attention(2, 16) };
    let spec = decoder([attention(2, 16), windowed, attention(1, 32), attention(2, 16)]);
    let pages =
        vec![PageGroup::uniform(2, 2, 16), PageGroup::uniform(1, 1, 32), PageGroup::uniform(1, 2, 16)];
    assert_eq!(spec.cache_layout(), CacheLayout { pages, states: Vec::new() });
    assert_eq!(decoder([]).cache_layout(), CacheLayout::default());
}

type Change = fn(&mut DecoderSpec);

/// Changes that make a valid spec invalid, and what the error says.
const CONTRADICTIONS: [(Change, &str); 15] = [
    (|spec| spec.norm.eps = f32::NAN, "\"norm epsilon\" = NaN"),
    (|spec| spec.embedding.scale = 0.0, "\"embedding scale\" = 0"),
    (|spec| spec.head.soft_cap = Some(-1.0), "\"soft cap of the logits\" = -1"),
    (|spec| spec.head.scale = f32::INFINITY, "\"logit scale\" = inf"),
    (
        |spec| (spec.head.scale, spec.head.soft_cap) = (0.5, Some(30.0)),
        "\"logit scale\" = 0.5 is not supported: logits with a soft cap",
    ),
    (|spec| spec.layers[0].ffn.bias = true, "only plain feed-forward networks may have biases"),
    (|spec| spec.layers[0].residual_scale = -0.5, "\"residual scale\" = -0.5"),
    (
        |spec| {
            spec.layers[0].norms = NormPlacement::After;
            spec.layers[0].residual_scale = 0.5;
        },
        "layers with norms after the blocks cannot scale",
    ),
    (
        |spec| {
            let experts = ExpertsSpec { n_experts: 4, top_k: 2, renormalize: true, shared: None };
            spec.layers[0].ffn.kind = FfnKind::Experts(experts);
            spec.layers[0].residual_scale = 0.5;
        },
        "layers with a mixture of experts cannot scale",
    ),
    (
        |spec| {
            let experts = ExpertsSpec { n_experts: 4, top_k: 5, renormalize: true, shared: None };
            spec.layers[0].ffn.kind = FfnKind::Experts(experts);
        },
        "\"experts per token\" = 5 is not supported: there are only 4 experts",
    ),
    (
        |spec| spec.attentions_mut().for_each(|attention| attention.n_kv_heads = 3),
        "\"number of key and value heads\" = 3 is not supported: 4 query heads",
    ),
    (
        |spec| {
            let rope =
                RopeSpec { theta: 1e4, rotary_dim: 32, pairs: RopePairs::Halves, scaling: RopeScaling::None };
            spec.attentions_mut().for_each(|attention| attention.rope = Some(rope.clone()));
        },
        "\"rotated dimensions\" = 32 is not supported: a head has only 16 values",
    ),
    (
        |spec| {
            let scale = QueryScale { beta: -0.5, interval: 32 };
            spec.attentions_mut().for_each(|attention| attention.q_scale = Some(scale));
        },
        "\"growth of the query scale\" = -0.5",
    ),
    (
        |spec| {
            let xielu = Xielu { alpha_p: 1.0, alpha_n: f32::INFINITY, beta: 0.5, eps: -1e-6 };
            spec.layers[0].ffn.activation = Activation::Xielu(xielu);
        },
        "\"activation\" = xielu 1 inf 0.5 -1e-6 is not supported: its parameters must be finite",
    ),
    (
        |spec| spec.attentions_mut().for_each(|attention| attention.scale = f32::NAN),
        "\"attention scale\" = NaN",
    ),
];

#[test]
fn contradictions_are_refused_with_the_field_and_the_reason() {
    decoder([attention(2, 16)]).check().unwrap();
    for (change, expected) in CONTRADICTIONS {
        let mut spec = decoder([attention(2, 16), attention(2, 16)]);
        change(&mut spec);
        let message = spec.check().unwrap_err().to_string();
        assert!(message.contains(expected), "{expected:?} is not in: {message}");
    }
}
