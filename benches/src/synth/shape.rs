//! The shapes of well-known models.

/// The dimensions of a decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    /// The architecture's name in GGUF files: `llama`, or `qwen2`, which adds biases to q, k and v.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Transformer layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Width of the feed-forward network.
    pub ffn_size: usize,
    /// Size of the vocabulary, at least 512.
    pub vocab_size: usize,
    /// Whether the embedding doubles as the output matrix.
    pub is_tied: bool,
    /// Longest context, in tokens.
    pub context_len: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Whether frequencies are scaled as in Llama 3.1 and 3.2.
    pub has_llama3_scaling: bool,
}

/// TinyLlama, 1.1 billion parameters. The other shapes override what differs.
const LLAMA_1_1B: Shape = Shape {
    name: "llama-1.1b",
    architecture: "llama",
    hidden_size: 2048,
    n_layers: 22,
    n_heads: 32,
    n_kv_heads: 4,
    ffn_size: 5632,
    vocab_size: 32_000,
    is_tied: false,
    context_len: 2048,
    rope_base: 10_000.0,
    has_llama3_scaling: false,
};

/// Every shape that can be written.
pub const SHAPES: [Shape; 6] = [
    LLAMA_1_1B,
    Shape {
        name: "smollm2-135m",
        hidden_size: 576,
        n_layers: 30,
        n_heads: 9,
        n_kv_heads: 3,
        ffn_size: 1536,
        vocab_size: 49_152,
        is_tied: true,
        context_len: 8192,
        rope_base: 100_000.0,
        ..LLAMA_1_1B
    },
    Shape {
        name: "qwen2.5-0.5b",
        architecture: "qwen2",
        hidden_size: 896,
        n_layers: 24,
        n_heads: 14,
        n_kv_heads: 2,
        ffn_size: 4864,
        vocab_size: 151_936,
        is_tied: true,
        context_len: 32_768,
        rope_base: 1_000_000.0,
        ..LLAMA_1_1B
    },
    Shape {
        name: "llama-3.2-1b",
        n_layers: 16,
        n_kv_heads: 8,
        ffn_size: 8192,
        vocab_size: 128_256,
        is_tied: true,
        context_len: 131_072,
        rope_base: 500_000.0,
        has_llama3_scaling: true,
        ..LLAMA_1_1B
    },
    Shape {
        name: "llama-3.2-3b",
        hidden_size: 3072,
        n_layers: 28,
        n_heads: 24,
        n_kv_heads: 8,
        ffn_size: 8192,
        vocab_size: 128_256,
        is_tied: true,
        context_len: 131_072,
        rope_base: 500_000.0,
        has_llama3_scaling: true,
        ..LLAMA_1_1B
    },
    Shape {
        name: "tiny",
        hidden_size: 256,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        ffn_size: 512,
        vocab_size: 512,
        ..LLAMA_1_1B
    },
];

impl Shape {
    /// The shape of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// Width of a head.
    pub const fn head_dim(&self) -> usize {
        self.hidden_size / self.n_heads
    }
}
