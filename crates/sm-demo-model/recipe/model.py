"""The demo models in plain PyTorch: Qwen3's decoder, written so that two cores train it quickly, and its Hugging Face form.

Projections that share their input are one matrix here and are taken apart in `save_pretrained`. Documents of a batch
are padded to one length on the right, where causal attention needs no mask.
"""

from pathlib import Path

import gguf
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CONTEXT, EPS, THETA = 1024, 1e-6, 10000.0
SHAPES = {
    "demo": dict(hidden_size=256, intermediate_size=512, num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4, head_dim=32),
    "draft": dict(hidden_size=96, intermediate_size=192, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=32),
}


class Layer(nn.Module):
    """Attention with normalised queries and keys, then a gated feed-forward network."""

    def __init__(self, shape: dict):
        super().__init__()
        self.size, self.n_heads, self.n_kv_heads, self.head_dim = (
            shape[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
        ffn_size = shape["intermediate_size"]
        self.attention_norm, self.ffn_norm = (nn.RMSNorm(self.size, eps=EPS) for _ in range(2))
        self.q_norm, self.k_norm = (nn.RMSNorm(self.head_dim, eps=EPS) for _ in range(2))
        self.qkv = nn.Linear(self.size, (self.n_heads + 2 * self.n_kv_heads) * self.head_dim, bias=False)
        self.o = nn.Linear(self.n_heads * self.head_dim, self.size, bias=False)
        self.gate_up = nn.Linear(self.size, 2 * ffn_size, bias=False)
        self.down = nn.Linear(ffn_size, self.size, bias=False)

    def heads(self) -> list[int]:
        """Rows of q, k and v in `qkv`."""
        return [n * self.head_dim for n in (self.n_heads, self.n_kv_heads, self.n_kv_heads)]

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n_rows, length, _ = x.shape
        q, k, v = (part.view(n_rows, length, -1, self.head_dim) for part in self.qkv(self.attention_norm(x)).split(self.heads(), -1))
        q, k = rotate(self.q_norm(q), cos, sin).transpose(1, 2), rotate(self.k_norm(k), cos, sin).transpose(1, 2)
        group = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(group, 1), v.transpose(1, 2).repeat_interleave(group, 1)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(attended.transpose(1, 2).reshape(n_rows, length, -1))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(functional.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the halves of each head, `x[rows, length, heads, head_dim]`."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Decoder(nn.Module):
    """The whole model; its head is its token table."""

    def __init__(self, shape: dict, vocab_size: int):
        super().__init__()
        self.shape = shape
        self.table = nn.Embedding(vocab_size, shape["hidden_size"])
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape["num_hidden_layers"]))
        self.norm = nn.RMSNorm(shape["hidden_size"], eps=EPS)
        angles = torch.arange(CONTEXT)[:, None] * THETA ** (-torch.arange(0, shape["head_dim"], 2) / shape["head_dim"])
        self.register_buffer("cos", angles.cos()[:, None], persistent=False)
        self.register_buffer("sin", angles.sin()[:, None], persistent=False)
        nn.init.normal_(self.table.weight, std=0.02)
        for layer in self.layers:
            for name, matrix in (("qkv", layer.qkv), ("gate_up", layer.gate_up)):
                nn.init.normal_(matrix.weight, std=0.5 * shape["hidden_size"] ** -0.5)
            nn.init.zeros_(layer.o.weight)
            nn.init.zeros_(layer.down.weight)

    def hidden(self, ids: Tensor) -> Tensor:
        """The last layer's output for `ids[rows, length]`."""
        x = self.table(ids)
        for layer in self.layers:
            x = layer(x, self.cos[:ids.shape[1]], self.sin[:ids.shape[1]])
        return self.norm(x)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The sum of cross entropies over the positions whose target is not negative."""
        wanted = targets.flatten() >= 0
        logits = functional.linear(self.hidden(ids).flatten(0, 1)[wanted], self.table.weight)
        return functional.cross_entropy(logits, targets.flatten()[wanted], reduction="sum")


def config_of(model: Decoder, tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    """The configuration of the Hugging Face form."""
    return Qwen3Config(
        vocab_size=model.table.num_embeddings, max_position_embeddings=CONTEXT, tie_word_embeddings=True, rms_norm_eps=EPS, rope_theta=THETA,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, **model.shape)


def names_of(model: Decoder) -> dict[str, Tensor]:
    """The tensors under their Hugging Face names."""
    state = {"model.embed_tokens.weight": model.table.weight, "model.norm.weight": model.norm.weight, "lm_head.weight": model.table.weight}
    for index, layer in enumerate(model.layers):
        q, k, v = layer.qkv.weight.split(layer.heads())
        gate, up = layer.gate_up.weight.chunk(2)
        named = {
            "input_layernorm": layer.attention_norm.weight, "post_attention_layernorm": layer.ffn_norm.weight,
            "self_attn.q_norm": layer.q_norm.weight, "self_attn.k_norm": layer.k_norm.weight,
            "self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "self_attn.o_proj": layer.o.weight,
            "mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": layer.down.weight,
        }
        state |= {f"model.layers.{index}.{name}.weight": tensor for name, tensor in named.items()}
    return state


def save_pretrained(model: Decoder, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Qwen3ForCausalLM:
    """Writes the Hugging Face form with its tokenizer."""
    exported = Qwen3ForCausalLM(config_of(model, tokenizer))
    exported.load_state_dict({name: tensor.detach().clone() for name, tensor in names_of(model).items()})
    exported.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return exported


GGUF_NAMES = {
    "token_embd": "embed_tokens", "output_norm": "norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def from_gguf(path: Path) -> Qwen3ForCausalLM:
    """The Hugging Face form of a GGUF file: its blocks in single precision, its numbers as the file gives them."""
    reader = gguf.GGUFReader(path)

    def number(key: str) -> float:
        return reader.get_field(f"qwen3.{key}").contents()

    config = Qwen3Config(
        vocab_size=len(reader.get_field("tokenizer.ggml.tokens").data), hidden_size=number("embedding_length"), head_dim=number("attention.key_length"),
        intermediate_size=number("feed_forward_length"), num_hidden_layers=number("block_count"), num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"), rms_norm_eps=number("attention.layer_norm_rms_epsilon"), rope_theta=number("rope.freq_base"),
        max_position_embeddings=number("context_length"), tie_word_embeddings=True, attn_implementation="eager")
    state = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        *block, name, _ = tensor.name.removeprefix("blk.").split(".")
        state["model." + "".join(f"layers.{index}." for index in block) + f"{GGUF_NAMES[name]}.weight"] = values
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = Qwen3ForCausalLM(config).float().eval()
    model.load_state_dict(state)
    return model


def load_named(model: Decoder, tensors: dict[str, Tensor]) -> None:
    """Fills a model with tensors under their Hugging Face names."""
    with torch.no_grad():
        for name, tensor in names_of(model).items():
            if name != "lm_head.weight":
                tensor.copy_(tensors[name])
