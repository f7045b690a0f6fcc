"""The cases of architectures.py: which tiny models, and which of their settings have to matter."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One tiny model. `without` lists settings whose change has to show in the logits."""

    name: str
    model_type: str
    settings: dict
    features: list[str]
    prompt_lengths: list[int]
    seed: int
    dtype: str = "BF16"
    gguf_dtype: str | None = None
    n_shards: int = 1
    without: list[dict] = field(default_factory=list)
    config_edits: dict = field(default_factory=dict)
    std: float = 0.22
    embedding_std: float = 1.0
    norm_adds_one: bool = False


BASE = dict(
    vocab_size=56, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
    tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
# For scaled rotations, which want more than four frequencies.
WIDE_HEADS = BASE | dict(num_attention_heads=2, num_key_value_heads=1)

LLAMA3_ROPE = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
YARN_BETAS = dict(factor=2.0, beta_fast=0.8, beta_slow=0.2)
LONGROPE = dict(
    type="longrope",
    short_factor=[1.0, 1.1, 1.3, 1.6],
    long_factor=[1.0, 1.7, 3.1, 4.0],
)
GEMMA = BASE | dict(
    head_dim=16, num_hidden_layers=4, intermediate_size=24, sliding_window=8, rms_norm_eps=1e-6,
    tie_word_embeddings=True, hidden_activation="gelu_pytorch_tanh",
)
QWEN_MOE = BASE | dict(
    head_dim=16, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=True,
    decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False, rms_norm_eps=1e-6,
)
QWEN2_MOE = BASE | dict(
    num_experts=6, num_experts_per_tok=3, moe_intermediate_size=16, shared_expert_intermediate_size=24, norm_topk_prob=False,
    decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False, rms_norm_eps=1e-6,
)
MINISTRAL_ROPE = YARN | dict(beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0)
HUNYUAN_ROPE = dict(
    type="dynamic", alpha=50.0, factor=1.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=0.0,
)

CASES = [
    Case("llama-gqa", "llama", BASE, ["gqa", "untied"], [1, 40], 1, dtype="F32", gguf_dtype="F32"),
    Case("llama-sharded", "llama", BASE, ["gqa", "untied", "shards"], [21], 1, n_shards=3),
    Case(
        "llama-mha-tied", "llama", BASE | dict(num_key_value_heads=4, tie_word_embeddings=True),
        ["mha", "tied"], [33], 2, dtype="F16", embedding_std=0.3,
    ),
    Case(
        "llama-mqa-odd", "llama",
        BASE | dict(hidden_size=36, num_attention_heads=3, num_key_value_heads=1, head_dim=20,
                    intermediate_size=50, vocab_size=71),
        ["mqa", "sizes that are no multiple of 16"], [37], 3, gguf_dtype="F16", std=0.2,
    ),
    Case(
        "llama3-rope", "llama", WIDE_HEADS | dict(rope_scaling=LLAMA3_ROPE, rope_theta=5000.0),
        ["llama3 rope scaling", "beyond the original context"], [90], 4, gguf_dtype="BF16", std=0.2,
        without=[dict(rope_scaling=None), dict(rope_scaling=LLAMA3_ROPE | dict(high_freq_factor=2.0)),
                 dict(rope_scaling=LLAMA3_ROPE | dict(low_freq_factor=2.0))],
    ),
    Case(
        "llama-linear-rope", "llama", BASE | dict(rope_scaling=dict(rope_type="linear", factor=4.0)),
        ["linear rope scaling"], [50], 5, gguf_dtype="F16", without=[dict(rope_scaling=None)],
        config_edits=dict(rope_scaling=dict(type="linear", factor=4.0)),
    ),
    Case(
        "llama-yarn", "llama", WIDE_HEADS | dict(rope_scaling=YARN, max_position_embeddings=128),
        ["yarn rope scaling", "beyond the original context"], [20, 100], 6, gguf_dtype="F16", std=0.2,
        without=[dict(rope_scaling=None), dict(rope_scaling=YARN | dict(attention_factor=1.0)),
                 dict(rope_scaling=YARN | dict(beta_slow=0.25))],
    ),
    Case(
        "smollm", "llama",
        BASE | dict(hidden_size=48, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True),
        ["smollm shape", "tied"], [29], 7, embedding_std=0.3,
    ),
    Case(
        "mistral-window", "mistral", BASE | dict(sliding_window=12, head_dim=12),
        ["sliding window shorter than the prompt", "head_dim * heads != hidden"], [10, 45], 8,
        without=[dict(sliding_window=None), dict(sliding_window=13), dict(sliding_window=11)],
    ),
    Case(
        "qwen2", "qwen2", BASE | dict(use_sliding_window=False, sliding_window=8, tie_word_embeddings=True),
        ["qkv bias", "tied", "a window that is switched off"], [40], 9, embedding_std=0.3, gguf_dtype="F16",
        without=[dict(use_sliding_window=True, sliding_window=8, max_window_layers=0)],
    ),
    Case(
        "qwen2-window-yarn", "qwen2",
        BASE | dict(use_sliding_window=True, sliding_window=10, max_window_layers=1, num_hidden_layers=3,
                    rope_scaling=YARN | YARN_BETAS, max_position_embeddings=64, rope_theta=1000.0),
        ["window from a layer on", "yarn by the old key `type`, with its own bounds"], [52], 10,
        without=[dict(use_sliding_window=False), dict(max_window_layers=0), dict(rope_scaling=None),
                 dict(rope_scaling=YARN | YARN_BETAS | dict(beta_fast=32.0))],
        config_edits=dict(
            rope_scaling=dict(type="yarn", original_max_position_embeddings=32) | YARN_BETAS,
            layer_types="absent",
        ),
    ),
    Case(
        "qwen3", "qwen3", BASE | dict(head_dim=24, rms_norm_eps=1e-6), ["qk-norm", "head_dim * heads != hidden"],
        [43], 11, gguf_dtype="F16",
    ),
    Case(
        "gemma", "gemma",
        BASE | dict(head_dim=16, num_key_value_heads=1, intermediate_size=24, rms_norm_eps=1e-6,
                    tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh",
                    hidden_activation="gelu_pytorch_tanh"),
        ["mqa", "scaled embeddings", "norm weights that hold the difference from one"], [27], 24,
        gguf_dtype="F16", std=0.25, embedding_std=0.3, norm_adds_one=True,
    ),
    Case(
        "gemma2", "gemma2",
        GEMMA | dict(query_pre_attn_scalar=16, attn_logit_softcapping=3.0, final_logit_softcapping=8.0),
        ["post-norms", "soft caps", "alternating windows", "scaled embeddings"], [6, 37], 12, gguf_dtype="F16",
        std=0.25, embedding_std=0.3, norm_adds_one=True,
        without=[dict(attn_logit_softcapping=None), dict(final_logit_softcapping=None), dict(sliding_window=9),
                 dict(sliding_window=64)],
        config_edits=dict(layer_types="absent"),
    ),
    Case(
        "gemma2-attention-scale", "gemma2",
        GEMMA | dict(query_pre_attn_scalar=40, attn_logit_softcapping=3.0, final_logit_softcapping=8.0,
                     num_hidden_layers=2),
        ["attention scale other than 1/sqrt(head_dim)"], [21], 13, std=0.25, embedding_std=0.3,
        norm_adds_one=True, without=[dict(query_pre_attn_scalar=16)],
    ),
    Case(
        "gemma3", "gemma3_text",
        GEMMA | dict(num_hidden_layers=7, query_pre_attn_scalar=16, rope_theta=1e6, rope_local_base_freq=1e4,
                     num_key_value_heads=1),
        ["qk-norm", "five local layers to one global", "two rope bases"], [7, 60], 14, gguf_dtype="F16",
        std=0.25, embedding_std=0.3, norm_adds_one=True,
        without=[dict(rope_theta=1e4), dict(rope_local_base_freq=1e6), dict(sliding_window=9)],
        config_edits=dict(layer_types="absent", sliding_window_pattern=6, _sliding_window_pattern="absent"),
    ),
    Case(
        "gemma3-linear-rope", "gemma3_text",
        GEMMA | dict(num_hidden_layers=3, query_pre_attn_scalar=24, rope_theta=1e6, rope_local_base_freq=1e4,
                     rope_scaling=dict(rope_type="linear", factor=8.0),
                     layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
        ["listed layer types", "linear scaling of the global layers only"], [41], 15,
        std=0.25, embedding_std=0.3, norm_adds_one=True,
        without=[dict(rope_scaling=None), dict(layer_types=["full_attention"] * 3)],
    ),
    Case(
        "phi3", "phi3", BASE | dict(num_key_value_heads=4), ["fused qkv", "fused gate and up"], [35], 16,
        gguf_dtype="F16",
    ),
    Case(
        "phi3-longrope", "phi3",
        WIDE_HEADS | dict(rope_scaling=LONGROPE, max_position_embeddings=128, original_max_position_embeddings=32,
                    partial_rotary_factor=0.5, sliding_window=24),
        ["longrope", "partial rotation", "one prompt within the original context, one beyond", "window"],
        [30, 70], 17, std=0.2,
        without=[dict(rope_scaling=None), dict(rope_scaling=LONGROPE | dict(long_factor=[1.0] * 4)),
                 dict(rope_scaling=LONGROPE | dict(short_factor=[4.0] * 4)), dict(sliding_window=None)],
    ),
    Case(
        "phi3-longrope-gguf", "phi3",
        WIDE_HEADS | dict(rope_scaling=LONGROPE, max_position_embeddings=128, original_max_position_embeddings=32,
                    partial_rotary_factor=0.5, sliding_window=None, num_hidden_layers=1),
        ["longrope from GGUF tensors"], [30, 70], 18, std=0.2, gguf_dtype="F16",
        without=[dict(rope_scaling=None)],
    ),
    Case(
        "gpt2", "gpt2",
        dict(vocab_size=56, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=None, bos_token_id=1,
             eos_token_id=2, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
        ["layer norm with bias", "learned positions", "tanh gelu", "transposed weights", "tied"], [48], 19,
        gguf_dtype="F16", embedding_std=0.4,
    ),
    Case(
        "mixtral", "mixtral", BASE | dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
        ["router"], [26], 20, gguf_dtype="F16",
        without=[dict(num_experts_per_tok=1)],
    ),
    Case(
        "qwen3-moe", "qwen3_moe", QWEN_MOE, ["router", "qk-norm", "normalised expert weights"], [31], 21,
        gguf_dtype="F16", without=[dict(norm_topk_prob=False), dict(num_experts_per_tok=2)],
    ),
    Case(
        "granite", "granite",
        BASE | dict(embedding_multiplier=3.0, attention_multiplier=0.5, residual_multiplier=0.3,
                    logits_scaling=3.0),
        ["multipliers of embedding, attention scores, residual branches and logits"], [39], 25, gguf_dtype="F16",
        without=[dict(embedding_multiplier=1.0), dict(attention_multiplier=8**-0.5),
                 dict(residual_multiplier=1.0), dict(logits_scaling=1.0)],
    ),
    Case(
        "olmo2", "olmo2", BASE,
        ["norms after the blocks only", "q and k normalised over the whole projection", "gqa"], [34], 26,
        gguf_dtype="F16",
    ),
    Case(
        "smollm3", "smollm3", BASE | dict(num_hidden_layers=5, tie_word_embeddings=True),
        ["every fourth layer without rotation", "tied"], [41], 27, gguf_dtype="F16", embedding_std=0.3,
        without=[dict(no_rope_layers=[1] * 5), dict(no_rope_layers=[0] * 5)],
        config_edits=dict(no_rope_layers="absent", layer_types="absent"),
    ),
    Case(
        "smollm3-listed-layers", "smollm3",
        BASE | dict(num_hidden_layers=3, no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=9,
                    attention_bias=True),
        ["listed layers without rotation, which have a window", "biases of all maps of the attention"], [37], 28,
        without=[dict(no_rope_layers=[1] * 3), dict(use_sliding_window=False), dict(sliding_window=10)],
        config_edits=dict(layer_types="absent"),
    ),
    Case(
        "qwen3-moe-dense-layer", "qwen3_moe",
        QWEN_MOE | dict(mlp_only_layers=[0], norm_topk_prob=False),
        ["router", "a dense layer among sparse ones", "expert weights that do not add to one"], [19], 23,
        without=[dict(norm_topk_prob=True)],
    ),
    Case(
        "qwen2-moe", "qwen2_moe", QWEN2_MOE,
        ["router", "shared expert behind a gate", "qkv bias", "expert weights that do not add to one"], [31], 30,
        gguf_dtype="F16", without=[dict(norm_topk_prob=True), dict(num_experts_per_tok=2)],
    ),
    Case(
        "qwen2-moe-sparse-step", "qwen2_moe",
        QWEN2_MOE | dict(num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3], qkv_bias=False,
                         norm_topk_prob=True),
        ["router", "shared expert behind a gate", "dense layers by step and by list", "no qkv bias"], [19], 61,
        without=[dict(norm_topk_prob=False)],
    ),
    Case(
        "olmo3", "olmo3",
        WIDE_HEADS | dict(num_hidden_layers=5, sliding_window=9, rope_scaling=YARN, max_position_embeddings=128),
        ["windows in three of four layers", "yarn in the other layers only"], [60], 32, gguf_dtype="F16", std=0.2,
        without=[dict(rope_scaling=None), dict(sliding_window=10), dict(layer_types=["full_attention"] * 5)],
        # Published configurations spell out the factor that YaRN recommends.
        config_edits=dict(layer_types="absent", rope_scaling=YARN | dict(attention_factor=1.1386294361119891)),
    ),
    Case(
        "exaone4", "exaone4",
        WIDE_HEADS | dict(sliding_window=None, layer_types=["full_attention"] * 2, rope_scaling=LLAMA3_ROPE,
                          tie_word_embeddings=True),
        ["norms after the blocks only", "qk-norm per head", "llama3 rope scaling", "tied"], [80], 33,
        gguf_dtype="F16", std=0.2, embedding_std=0.3, without=[dict(rope_scaling=None)],
    ),
    Case(
        "exaone4-window", "exaone4", BASE | dict(num_hidden_layers=5, sliding_window=8, sliding_window_pattern=4),
        ["windows in three of four layers", "the other layers do not rotate"], [41], 34, gguf_dtype="F16",
        without=[dict(sliding_window=9), dict(layer_types=["sliding_attention"] * 5)],
        config_edits=dict(layer_types="absent"),
    ),
    Case(
        "glm", "glm", BASE | dict(head_dim=16, attention_bias=True, partial_rotary_factor=0.5),
        ["half of each head rotated in neighbouring pairs", "fused gate and up", "qkv bias"], [37], 43, gguf_dtype="F16",
        without=[dict(partial_rotary_factor=1.0)],
    ),
    Case(
        "glm4", "glm4", BASE | dict(head_dim=16, attention_bias=True, partial_rotary_factor=0.5),
        ["norms before and after the blocks", "half of each head rotated in neighbouring pairs",
         "fused gate and up", "qkv bias"],
        [37], 35, gguf_dtype="F16", without=[dict(partial_rotary_factor=1.0), dict(partial_rotary_factor=0.25)],
    ),
    Case(
        "ministral3", "ministral3",
        WIDE_HEADS | dict(head_dim=20, sliding_window=None, max_position_embeddings=128, llama_4_scaling_beta=0.4,
                          rope_scaling=MINISTRAL_ROPE),
        ["queries scaled by position", "yarn without its attention factor", "head_dim * heads != hidden"], [20, 100], 42,
        gguf_dtype="F16", std=0.2,
        without=[dict(llama_4_scaling_beta=0.0), dict(rope_scaling=MINISTRAL_ROPE | dict(mscale=0.5)),
                 dict(rope_scaling=MINISTRAL_ROPE | dict(factor=2.0))],
        # As transformers 5 writes it.
        config_edits=dict(
            architectures=["Ministral3ForCausalLM"], model_type="ministral3", rope_scaling="absent", rope_theta="absent",
            rope_parameters=MINISTRAL_ROPE | dict(
                type="yarn", rope_theta=10000.0, max_position_embeddings=128, llama_4_scaling_beta=0.4,
            ),
        ),
    ),
    Case(
        "apertus", "apertus", WIDE_HEADS | dict(hidden_act="xielu", rope_scaling=LLAMA3_ROPE),
        ["xielu", "no gate", "qk-norm", "llama3 rope scaling"], [80], 36, gguf_dtype="F16", std=0.2,
        without=[dict(hidden_act="gelu"), dict(rope_scaling=None)],
    ),
    Case(
        "ernie4_5", "ernie4_5", BASE | dict(head_dim=12, tie_word_embeddings=True),
        ["neighbouring pairs", "tied", "head_dim * heads != hidden"], [39], 37, gguf_dtype="F16", embedding_std=0.3,
        without=[dict(rope_theta=100.0)],
    ),
    Case(
        "hunyuan", "hunyuan_v1_dense",
        BASE | dict(head_dim=16, max_position_embeddings=32768, rope_scaling=HUNYUAN_ROPE, tie_word_embeddings=True),
        ["qk-norm after the rotation", "a base scaled by alpha", "tied"], [43], 38, gguf_dtype="F16",
        embedding_std=0.3, without=[dict(rope_scaling=None)],
    ),
    Case(
        "falcon3", "llama",
        BASE | dict(num_attention_heads=3, num_key_value_heads=1, head_dim=16, rope_theta=1000042.0, rms_norm_eps=1e-6),
        ["the fields of Falcon 3", "head_dim * heads != hidden", "gqa"], [35], 39, gguf_dtype="F16",
        without=[dict(rope_theta=10000.0)],
        config_edits=dict(activation="swiglu", rope_theta=1000042),
    ),
    Case(
        "deepseek-r1-qwen", "qwen2",
        BASE | dict(use_sliding_window=False, sliding_window=8, max_window_layers=2, rms_norm_eps=1e-6),
        ["the fields of DeepSeek-R1-Distill-Qwen", "qkv bias"], [35], 40, gguf_dtype="F16",
        config_edits=dict(use_mrope=False, layer_types="absent", sliding_window=8),
    ),
    Case(
        "deepseek-r1-llama", "llama", WIDE_HEADS | dict(rope_scaling=LLAMA3_ROPE, rope_theta=500000.0),
        ["the fields of DeepSeek-R1-Distill-Llama", "llama3 rope scaling"], [80], 41, gguf_dtype="BF16", std=0.2,
        without=[dict(rope_scaling=None)],
        config_edits=dict(mlp_bias=False, pretraining_tp=1, attention_bias=False),
    ),
]
