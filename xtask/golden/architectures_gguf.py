"""Writes a model of architectures.py as GGUF, with the names, metadata and weight layouts of llama.cpp's converter."""

from pathlib import Path

import gguf
import numpy as np
import torch

ARCH = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "gemma": gguf.MODEL_ARCH.GEMMA,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "granite": gguf.MODEL_ARCH.GRANITE,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE,
    "olmo3": gguf.MODEL_ARCH.OLMO2,
    "exaone4": gguf.MODEL_ARCH.EXAONE4,
    "glm": gguf.MODEL_ARCH.CHATGLM,
    "glm4": gguf.MODEL_ARCH.GLM4,
    "ministral3": gguf.MODEL_ARCH.MISTRAL3,
    "apertus": gguf.MODEL_ARCH.APERTUS,
    "ernie4_5": gguf.MODEL_ARCH.ERNIE4_5,
    "hunyuan_v1_dense": gguf.MODEL_ARCH.HUNYUAN_DENSE,
}
TYPES = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
}
ROTATED_IN_PAIRS = ("llama", "mistral", "mixtral", "granite", "smollm3")
# What llama.cpp's converter writes for HunYuan, whose configurations give the context of an early stage of training.
HUNYUAN_CONTEXT = 256 * 1024
# The names of one expert's matrices in Mixtral and in Qwen3-MoE.
EXPERT_PARTS = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def interleave_halves(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """From rotation of halves to rotation of neighbouring pairs, as files of the llama architecture have it."""
    rows, cols = weight.shape
    return weight.reshape(n_heads, 2, rows // n_heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def common_metadata(writer: gguf.GGUFWriter, case, c) -> None:
    writer.add_name(case.name)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(c.vocab_size)
    is_hunyuan = c.model_type == "hunyuan_v1_dense"
    writer.add_context_length(HUNYUAN_CONTEXT if is_hunyuan else c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_head_count(c.num_attention_heads)
    if c.model_type == "gpt2":
        writer.add_feed_forward_length(4 * c.hidden_size)
        writer.add_layer_norm_eps(c.layer_norm_epsilon)
        return
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(rope_theta(c))
    if c.model_type == "phi3":
        writer.add_rope_dimension_count(int(c.partial_rotary_factor * head_dim))
        writer.add_sliding_window(c.sliding_window or 0)
    elif c.model_type in ("glm", "glm4"):
        writer.add_rope_dimension_count(int(c.partial_rotary_factor * head_dim))
    elif c.model_type in (*ROTATED_IN_PAIRS, "apertus"):
        writer.add_rope_dimension_count(head_dim)
    if c.model_type in ("gemma2", "gemma3_text"):
        writer.add_sliding_window(c.sliding_window)
    if c.model_type in ("olmo3", "exaone4") and c.sliding_window is not None:
        writer.add_sliding_window(c.sliding_window)
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in c.layer_types])
    if c.model_type != "phi3" and head_dim * c.num_attention_heads != c.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if c.model_type == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if c.model_type == "granite":
        writer.add_attention_scale(c.attention_multiplier)
        writer.add_embedding_scale(c.embedding_multiplier)
        writer.add_residual_scale(c.residual_multiplier)
        writer.add_logit_scale(c.logits_scaling)


def rope_theta(c) -> float:
    """The base of the rotation; HunYuan multiplies it by a power of alpha."""
    scaling = getattr(c, "rope_scaling", None) or {}
    if c.model_type == "hunyuan_v1_dense" and "alpha" in scaling:
        return c.rope_theta * scaling["alpha"] ** (c.head_dim / (c.head_dim - 2))
    return c.rope_theta


def expert_metadata(writer: gguf.GGUFWriter, c) -> None:
    if c.model_type == "mixtral":
        writer.add_expert_count(c.num_local_experts)
        writer.add_expert_used_count(c.num_experts_per_tok)
    if c.model_type in ("qwen2_moe", "qwen3_moe"):
        writer.add_expert_count(c.num_experts)
        writer.add_expert_used_count(c.num_experts_per_tok)
        writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    if c.model_type == "qwen2_moe":
        writer.add_expert_shared_feed_forward_length(c.shared_expert_intermediate_size)


def rope_scaling(writer: gguf.GGUFWriter, case, model) -> None:
    c = model.config
    scaling = getattr(c, "rope_scaling", None)
    if not scaling:
        return
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        if "beta_fast" in scaling:
            writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
            writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
        if case.model_type == "ministral3":
            writer.add_rope_scaling_yarn_log_mul(scaling["mscale_all_dim"])
            writer.add_attn_temperature_scale(case.settings["llama_4_scaling_beta"])
    elif kind == "dynamic" and c.model_type == "hunyuan_v1_dense":
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_rope_scaling_factor(1)
        writer.add_rope_scaling_orig_ctx_len(HUNYUAN_CONTEXT)
    elif kind == "llama3":
        head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        plain = 1.0 / c.rope_theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)
        scaled = model.model.rotary_emb.inv_freq.numpy()
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    elif kind == "longrope":
        # llama.cpp's converter gives this scaling no type, only the tensors and the attention factor.
        original = c.original_max_position_embeddings
        scale = c.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(scale) / np.log(original))))
        writer.add_tensor("rope_factors_long.weight", np.array(scaling["long_factor"], dtype=np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(scaling["short_factor"], dtype=np.float32))


def take_activations(writer: gguf.GGUFWriter, state: dict) -> None:
    """Moves the parameters of xIELU to the metadata, a list of all layers for each."""
    lists = {
        "alpha_p": writer.add_xielu_alpha_p, "alpha_n": writer.add_xielu_alpha_n,
        "beta": writer.add_xielu_beta, "eps": writer.add_xielu_eps,
    }
    for parameter, add in lists.items():
        names = [name for name in state if name.endswith(f".act_fn.{parameter}")]
        if names:
            add([state.pop(name).item() for name in sorted(names, key=lambda name: int(name.split(".")[2]))])


def stack_experts(state: dict) -> dict:
    """Joins the matrices of a layer's experts into one tensor [experts, out, in] named as llama.cpp names it."""
    joined, experts = {}, {}
    for name, array in state.items():
        if ".experts." not in name:
            joined[name] = array
            continue
        layer, part = int(name.split(".")[2]), EXPERT_PARTS[name.split(".")[-2]]
        index = int(name.split(".experts.")[1].split(".")[0])
        experts.setdefault(f"blk.{layer}.ffn_{part}_exps.weight", {})[index] = array
    for name, parts in experts.items():
        joined[name] = np.stack([parts[i] for i in sorted(parts)])
    return joined


def converted(name: str, array: np.ndarray, c) -> np.ndarray:
    if c.model_type in ROTATED_IN_PAIRS and name.endswith("q_proj.weight"):
        return interleave_halves(array, c.num_attention_heads)
    if c.model_type in ROTATED_IN_PAIRS and name.endswith("k_proj.weight"):
        return interleave_halves(array, c.num_key_value_heads)
    if c.model_type.startswith("gemma") and name.endswith("norm.weight"):
        return array + np.float32(1.0)
    if c.model_type == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return np.ascontiguousarray(array.T)
    return array


def add_tensors(writer: gguf.GGUFWriter, case, model) -> None:
    c = model.config
    names = gguf.get_tensor_name_map(ARCH[case.model_type], c.num_hidden_layers)
    state = {n: t.detach().to(torch.float32).numpy() for n, t in model.state_dict().items()}
    if c.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    take_activations(writer, state)
    dtype = TYPES[case.gguf_dtype]
    for name, array in stack_experts(state).items():
        array = converted(name, array, c)
        is_gguf_name = name.startswith("blk.")
        new_name = name if is_gguf_name else names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new_name is None:
            raise SystemExit(f"{case.name}: GGUF has no name for {name}")
        # As in llama.cpp's files, vectors, learned positions and routers stay F32.
        keep = array.ndim == 1 or new_name.startswith("position_embd") or "ffn_gate_inp" in new_name
        kind = TYPES["F32"] if keep else dtype
        writer.add_tensor(new_name, gguf.quants.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)


def write(case, model, path: Path) -> None:
    c = model.config
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCH[case.model_type]])
    common_metadata(writer, case, c)
    expert_metadata(writer, c)
    rope_scaling(writer, case, model)
    add_tensors(writer, case, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
