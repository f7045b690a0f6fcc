"""Writes quantized checkpoints, packed by the published rules of each method, with the values they stand for.

    crates/sm-model/tests/data/quantized/matrices/CASE/   config.json, model.safetensors: some quantized modules
        expected.safetensors    their values (F32), as they are or rounded once to the type in expected.json
        expected.json           the data type that each matrix becomes
    crates/sm-model/tests/data/quantized/models/CASE/     a tiny model, laid out like those of architectures.py
        logits-0.f32            what transformers computes with the dequantized weights

Nothing here is packed or unpacked by our code. Packing of compressed-tensors and AWQ, and values of MLX, are compared with the
packages compressed-tensors and mlx; GPTQ follows the loops of AutoGPTQ (`qlinear_cuda.py`).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

OUT = Path("crates/sm-model/tests/data/quantized")
F8 = torch.float8_e4m3fn


# Rounding


def round_bf16(x: np.ndarray) -> np.ndarray:
    """Rounds float64 to BF16 once, to nearest, ties to even. (torch rounds to float32 in between.)"""
    bits = np.ascontiguousarray(x, dtype=np.float64).view(np.uint64)
    bits = bits + np.uint64((1 << 44) - 1) + (bits >> np.uint64(45) & np.uint64(1))
    return (bits & ~np.uint64((1 << 45) - 1)).view(np.float64).astype(np.float32)


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    match dtype:
        case "bf16":
            return round_bf16(x)
        case "f16":
            return x.astype(np.float16).astype(np.float32)
        case _:  # A block format that holds the same numbers.
            assert (x.astype(np.float32) == x).all() or dtype in ("q4_1", "q5_1")
            return x.astype(np.float32)


# Packing


def pack_words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes [n, m] as int32 [n, ceil(m * bits / 32)]: one stream of bits per row, lowest first."""
    n, m = codes.shape
    stream = ((codes[:, :, None].astype(np.uint8) >> np.arange(bits, dtype=np.uint8)) & 1).reshape(n, m * bits)
    stream = np.pad(stream, ((0, 0), (0, -stream.shape[1] % 32)))
    return np.packbits(stream, axis=1, bitorder="little").view(np.int32)


def pack_gptq(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes [in, out] as int32 [in * bits / 32, out]."""
    packed = np.zeros((codes.shape[0] * bits // 32, codes.shape[1]), np.uint32)
    per_word = 32 // bits
    for row in range(packed.shape[0]):
        for j in range(per_word):
            packed[row] |= codes[row * per_word + j].astype(np.uint32) << np.uint32(bits * j)
    return packed.view(np.int32)


def pack_awq(codes: np.ndarray) -> np.ndarray:
    """4-bit codes [n, out] as int32 [n, out / 8]."""
    packed = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for col in range(packed.shape[1]):
        for i, of in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
            packed[:, col] |= codes[:, col * 8 + of].astype(np.uint32) << np.uint32(4 * i)
    return packed.view(np.int32)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def floats(x: torch.Tensor) -> np.ndarray:
    return x.to(torch.float64).numpy()


class Module:
    """The tensors of a module, the values [out, in] of its weight in float64, and the type they should be read as."""

    def __init__(self, tensors: dict[str, torch.Tensor], values: np.ndarray, dtype: str):
        self.tensors = tensors
        self.values = values
        self.dtype = dtype


class Maker:
    """Makes random modules; `step` is about the size of a scale."""

    def __init__(self, seed: int, step: float = 0.03):
        self.rng = np.random.default_rng(seed)
        self.step = step

    def codes(self, shape: tuple[int, ...], bits: int) -> np.ndarray:
        return self.rng.integers(0, 1 << bits, shape)

    def scales(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        values = self.step * self.rng.uniform(0.5, 1.5, shape) * self.rng.choice([-1, 1], shape, p=[0.1, 0.9])
        return torch.tensor(values, dtype=torch.float64).to(dtype)

    def fp8(self, out: int, width: int, dtype: torch.dtype = F8, finite: int = 0x7F) -> torch.Tensor:
        codes = self.rng.integers(0, finite, (out, width)) | self.rng.choice([0, 0x80], (out, width))
        return tensor(codes.astype(np.uint8)).view(dtype)

    def fp8_scaled(self, weight: torch.Tensor, scale: torch.Tensor, block=None, name="weight_scale") -> Module:
        wide = floats(scale)
        if block:
            wide = wide.repeat(block[0], 0).repeat(block[1], 1)[: weight.shape[0], : weight.shape[1]]
        elif wide.ndim == 1 and wide.size > 1:
            wide = wide[:, None]
        return Module({"weight": weight, name: scale}, floats(weight.float()) * wide, "bf16")

    def fp8_blocks(self, out: int, width: int, block=(128, 128), dtype=torch.bfloat16) -> Module:
        scale = self.scales((-(-out // block[0]), -(-width // block[1])), dtype)
        # E4M3 reaches 448; the models need moderate weights.
        return self.fp8_scaled(self.fp8(out, width, finite=0x50), scale, block, "weight_scale_inv")

    def gptq(self, out, width, bits=4, group=32, zeros="middle", v1=1, scale=torch.float16, g_idx=None, dtype="q4_0"):
        n_groups = width // group
        codes = self.codes((width, out), bits)
        zero = self.codes((n_groups, out), bits) if zeros == "any" else np.full((n_groups, out), 1 << (bits - 1))
        if zeros == "any":
            zero[0, :2] = [0, (1 << bits) - 1]
        scales = self.scales((n_groups, out), scale)
        of = np.arange(width) // group if g_idx is None else g_idx
        tensors = {
            "qweight": tensor(pack_gptq(codes, bits)),
            "qzeros": tensor(pack_words((zero - v1) & ((1 << bits) - 1), bits)),
            "scales": scales,
            "g_idx": tensor(of.astype(np.int32)),
        }
        return Module(tensors, ((codes - zero[of]) * floats(scales)[of]).T, dtype)

    def awq(self, out, width, group=32, zeros="any", dtype="q5_0") -> Module:
        n_groups = width // group
        codes = self.codes((width, out), 4)
        zero = self.codes((n_groups, out), 4) if zeros == "any" else np.full((n_groups, out), 8)
        scales = self.scales((n_groups, out), torch.float16)
        tensors = {"qweight": tensor(pack_awq(codes)), "qzeros": tensor(pack_awq(zero)), "scales": scales}
        theirs = AutoAWQConverter.unpack_awq(tensors["qweight"], tensors["qzeros"], 4)
        theirs = [(x & 15).numpy() for x in AutoAWQConverter.reverse_awq_order(*theirs, 4)]
        assert (theirs[0] == codes).all() and (theirs[1] == zero).all()
        of = np.arange(width) // group
        return Module(tensors, ((codes - zero[of]) * floats(scales)[of]).T, dtype)

    def packed(self, out, width, bits=4, group=32, zeros=None, scale=torch.bfloat16, g_idx=None, dtype="q4_0"):
        """compressed-tensors `pack-quantized`; a group as wide as the matrix is a channel."""
        n_groups = width // group
        middle = 1 << (bits - 1)
        codes = self.codes((out, width), bits) - middle
        zero = self.codes((out, n_groups), bits) - middle if zeros else np.zeros((out, n_groups), np.int64)
        scales = self.scales((out, n_groups), scale)
        of = np.arange(width) // group if g_idx is None else g_idx
        packed = pack_words(codes + middle, bits)
        assert torch.equal(tensor(packed), pack_to_int32(tensor(codes.astype(np.int8)), bits))
        tensors = {
            "weight_packed": tensor(packed),
            "weight_scale": scales,
            "weight_shape": torch.tensor([out, width]),
        }
        if zeros:
            packed = pack_words(zero.T + middle, bits).T
            theirs = pack_to_int32(tensor(zero.astype(np.int8)), bits, packed_dim=0)
            assert torch.equal(tensor(packed), theirs.contiguous())
            tensors["weight_zero_point"] = tensor(packed)
        if g_idx is not None:
            tensors["weight_g_idx"] = tensor(g_idx.astype(np.int32))
        values = (codes - zero[:, of]) * floats(scales)[:, of]
        return Module(tensors, values, dtype)

    def bytes(self, out, width, scale=torch.bfloat16, per_row=True, zeros=False, dtype="q8_0") -> Module:
        """compressed-tensors `int-quantized`."""
        codes = self.codes((out, width), 8) - 128
        scales = self.scales((out, 1) if per_row else (1,), scale)
        tensors = {"weight": tensor(codes.astype(np.int8)), "weight_scale": scales}
        zero = np.zeros(scales.shape, np.int64)
        if zeros:
            zero = self.codes(tuple(scales.shape), 8) - 128
            tensors["weight_zero_point"] = tensor(zero.astype(np.int8))
        values = (codes - zero) * floats(scales)
        return Module(tensors, values, dtype)

    def mlx(self, out, width, bits=4, group=32, scale=torch.float16, tiny_bias=False, dtype="q4_1") -> Module:
        n_groups = width // group
        codes = self.codes((out, width), bits)
        scales = self.scales((out, n_groups), scale)
        biases = self.scales((out, n_groups), scale) * -(1 << (bits - 1))
        if tiny_bias:
            biases[0, 0] = 1e-9
        of = np.arange(width) // group
        values = codes * floats(scales)[:, of] + floats(biases)[:, of]
        packed = tensor(pack_words(codes, bits).view(np.uint32))
        check_mlx(packed, scales, biases, group, bits, values)
        return Module({"weight": packed, "scales": scales, "biases": biases}, values, dtype)


def check_mlx(packed, scales, biases, group, bits, values) -> None:
    import mlx.core as mx

    def of(x: torch.Tensor) -> "mx.array":
        return mx.array(x.numpy()) if x.dtype == torch.uint32 else mx.array(x.float().numpy())

    theirs = np.array(mx.dequantize(of(packed), of(scales), of(biases), group_size=group, bits=bits))
    assert np.allclose(theirs, values, rtol=1e-6, atol=1e-6)


# Configurations


def gptq_config(**settings) -> dict:
    return {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True} | settings}


def ct_config(fmt: str, ignore=(), activations=None, **weights) -> dict:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32} | weights
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    config = {"quant_method": "compressed-tensors", "format": fmt, "config_groups": {"group_0": group}}
    return {"quantization_config": config | {"ignore": list(ignore), "quantization_status": "compressed"}}


def fp8_config(**settings) -> dict:
    return {"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"} | settings}


def shuffled_blocks(rng: np.random.Generator, width: int, group: int, len_: int) -> np.ndarray:
    """Group indices whose groups are scattered over the columns in pieces of `len_`."""
    pieces = (np.arange(width) // group).reshape(-1, len_)[:, 0]
    return rng.permutation(pieces).repeat(len_)


def fp8_cases() -> dict:
    m = Maker(1)
    static = m.fp8_scaled(m.fp8(24, 40), m.scales((), torch.bfloat16), name="weight_scale_inv")
    static.tensors["activation_scale"] = torch.tensor(0.5, dtype=torch.bfloat16)
    wide = {"type": "float", "num_bits": 8, "group_size": None}
    tensors = {
        "one": m.fp8_scaled(m.fp8(24, 40), m.scales((), torch.float32)),
        "one_of_rank_1": m.fp8_scaled(m.fp8(24, 40), m.scales((1,), torch.float32)),
        "rows": m.fp8_scaled(m.fp8(24, 40), m.scales((24, 1), torch.float32)),
        "e5m2": m.fp8_scaled(m.fp8(24, 40, torch.float8_e5m2, 0x7C), m.scales((24,), torch.float32)),
        "static": static,
    }
    return {
        "fp8-blocks": (
            fp8_config(weight_block_size=[128, 128]),
            {
                "square": m.fp8_blocks(132, 8),
                "wide": m.fp8_blocks(8, 132, dtype=torch.float32),
                "small": m.fp8_blocks(3, 5, dtype=torch.float16),
            },
        ),
        "fp8-small-blocks": (fp8_config(weight_block_size=[16, 32]), {"m": m.fp8_blocks(40, 72, (16, 32), torch.float32)}),
        "fp8-tensors": (fp8_config(weight_block_size=None, modules_to_not_convert=["lm_head"]), tensors),
        "ct-float-channel": (
            ct_config("float-quantized", strategy="channel", activations={"num_bits": 8, "dynamic": True}, **wide),
            {"m": m.fp8_scaled(m.fp8(24, 40), m.scales((24, 1), torch.bfloat16))},
        ),
        "ct-float-blocks": (
            ct_config("float-quantized", strategy="block", block_structure=[16, 32], **wide),
            {"m": m.fp8_scaled(m.fp8(24, 40), m.scales((2, 2), torch.float32), (16, 32))},
        ),
    }


def gptq_cases() -> dict:
    m = Maker(2)
    order = shuffled_blocks(m.rng, 96, 32, 1)
    blocks = shuffled_blocks(m.rng, 128, 64, 32)
    zero_bias = m.gptq(24, 64)
    zero_bias.tensors["bias"] = torch.zeros(24, dtype=torch.float16)
    return {
        "gptq-symmetric": (gptq_config(), {"f16": m.gptq(24, 64), "bf16": m.gptq(8, 96, scale=torch.bfloat16), "biased": zero_bias}),
        "gptq-asymmetric": (gptq_config(sym=False, group_size=64), {"m": m.gptq(24, 128, group=64, zeros="any", dtype="q5_0")}),
        "gptq-v2": (
            gptq_config(sym=False, checkpoint_format="gptq_v2"),
            {"m": m.gptq(24, 64, zeros="any", v1=0, dtype="q5_0"), "symmetric": m.gptq(24, 64, v1=0)},
        ),
        "gptq-v2-unsaid": (gptq_config(checkpoint_format="gptq"), {"m": m.gptq(24, 64, v1=0)}),
        "gptq-act-order": (
            gptq_config(desc_act=True),
            {"mixed": m.gptq(24, 96, g_idx=order, dtype="bf16")},
        ),
        "gptq-act-order-blocks": (gptq_config(desc_act=True, group_size=64), {"m": m.gptq(24, 128, group=64, g_idx=blocks)}),
        "gptq-rows": (gptq_config(group_size=-1), {"m": m.gptq(24, 64, group=64)}),
        "gptq-odd-groups": (gptq_config(group_size=16), {"m": m.gptq(24, 48, group=16, dtype="bf16")}),
        "gptq-f32-scales": (gptq_config(), {"m": m.gptq(24, 64, scale=torch.float32, dtype="bf16")}),
        "gptq-8-bit": (gptq_config(bits=8), {"m": m.gptq(24, 64, bits=8, dtype="q8_0")}),
        "gptq-8-bit-asymmetric": (
            gptq_config(bits=8, sym=False),
            {"m": m.gptq(24, 64, bits=8, zeros="any", dtype="f16"), "f32": m.gptq(24, 64, bits=8, zeros="any", scale=torch.float32, dtype="f16")},
        ),
    }


def awq_cases() -> dict:
    m = Maker(3)
    config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}}
    return {
        "awq": (config, {"m": m.awq(24, 64), "symmetric": m.awq(40, 32, zeros="middle", dtype="q4_0")}),
    }


def ct_cases() -> dict:
    m = Maker(4)
    order = shuffled_blocks(m.rng, 96, 32, 1)
    channel = {"strategy": "channel", "group_size": None}
    wide = channel | {"num_bits": 8}
    return {
        "ct-int4-group": (ct_config("pack-quantized", ["lm_head"]), {"m": m.packed(24, 64), "odd": m.packed(12, 32)}),
        "ct-int4-asymmetric": (
            ct_config("pack-quantized", symmetric=False, group_size=64),
            {"m": m.packed(24, 128, group=64, zeros=True, dtype="q5_0"), "odd": m.packed(12, 64, group=64, zeros=True, dtype="q5_0")},
        ),
        "ct-int4-channel": (ct_config("pack-quantized", **channel), {"m": m.packed(24, 64, group=64), "f32": m.packed(24, 44, group=44, scale=torch.float16, dtype="bf16")}),
        "ct-int4-act-order": (ct_config("pack-quantized", actorder="group"), {"m": m.packed(24, 96, g_idx=order, dtype="bf16")}),
        "ct-int8-packed": (ct_config("pack-quantized", num_bits=8), {"m": m.packed(24, 64, bits=8, dtype="q8_0")}),
        "ct-int8": (
            ct_config("int-quantized", activations={"num_bits": 8, "dynamic": True}, **wide),
            {"bf16": m.bytes(24, 64), "f32": m.bytes(24, 64, scale=torch.float32, dtype="f16")},
        ),
        "ct-int8-asymmetric": (ct_config("int-quantized", symmetric=False, **wide), {"m": m.bytes(24, 64, zeros=True, dtype="f16")}),
        "ct-int8-tensor": (ct_config("int-quantized", **(wide | {"strategy": "tensor"})), {"m": m.bytes(24, 64, per_row=False)}),
    }


def mlx_cases() -> dict:
    m = Maker(5)
    config = {"quantization": {"group_size": 32, "bits": 4, "eight": {"group_size": 64, "bits": 8}, "plain": False}}
    modules = {
        "f16": m.mlx(24, 64),
        "bf16": m.mlx(24, 64, scale=torch.bfloat16),
        "tiny_bias": m.mlx(24, 64, scale=torch.bfloat16, tiny_bias=True, dtype="bf16"),
        "eight": m.mlx(24, 128, bits=8, group=64, dtype="f16"),
    }
    widths = {bits: ({2: "q4_1", 3: "q4_1", 5: "q5_1", 6: "f16"})[bits] for bits in (2, 3, 5, 6)}
    others = {f"mlx-{bits}-bit": ({"quantization": {"group_size": 32, "bits": bits}}, {"m": m.mlx(24, 64, bits=bits, dtype=dtype)}) for bits, dtype in widths.items()}
    return {"mlx": (config, modules)} | others


def write_matrices(out: Path) -> None:
    for name, (config, modules) in (fp8_cases() | gptq_cases() | awq_cases() | ct_cases() | mlx_cases()).items():
        folder = out / "matrices" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        save_file({f"{of}.{part}": x.contiguous() for of, m in modules.items() for part, x in m.tensors.items()}, folder / "model.safetensors")
        expected = {f"{of}.weight": tensor(rounded(m.values, m.dtype)) for of, m in modules.items()}
        save_file(expected, folder / "expected.safetensors")
        dtypes = {f"{of}.weight": m.dtype for of, m in modules.items()}
        (folder / "expected.json").write_text(json.dumps(dtypes, sort_keys=True) + "\n")


# Models

SETTINGS = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 48,
    "max_position_embeddings": 64,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def models() -> dict:
    """For each: the architecture, the configuration, which modules are quantized, and how."""
    m = Maker(6)

    def linear(name: str) -> bool:
        return ".layers." in name

    def quantized_embedding(name: str) -> bool:
        return True

    gptq = gptq_config(sym=False)
    awq = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True, "modules_to_not_convert": ["lm_head"]}}
    mlx = {"quantization": {"group_size": 32, "bits": 4}, "quantization_config": {"group_size": 32, "bits": 4}}
    channel = {"strategy": "channel", "group_size": None, "num_bits": 8}
    return {
        "llama-gptq": ("llama", gptq, linear, lambda o, i: m.gptq(o, i, zeros="any", dtype="q5_0")),
        "llama-awq": ("llama", awq, linear, lambda o, i: m.awq(o, i)),
        "qwen3-fp8": (
            "qwen3",
            fp8_config(weight_block_size=[32, 64], modules_to_not_convert=["lm_head", "model.layers.0.input_layernorm"]),
            linear,
            lambda o, i: m.fp8_blocks(o, i, (32, 64)),
        ),
        "llama-ct-int4": ("llama", ct_config("pack-quantized", ["lm_head"]), linear, lambda o, i: m.packed(o, i)),
        "llama-ct-int8": ("llama", ct_config("int-quantized", ["lm_head"], **channel), linear, lambda o, i: Maker(7, 0.002).bytes(o, i)),
        "llama-mlx": ("llama", mlx, quantized_embedding, lambda o, i: m.mlx(o, i)),
    }


def write_model(folder: Path, architecture: str, quantization: dict, is_quantized, make) -> None:
    config = AutoConfig.for_model(architecture, **SETTINGS)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    generator = torch.Generator().manual_seed(11)
    tensors, twin = {}, {}
    for name, parameter in model.state_dict().items():
        module = name.removesuffix(".weight")
        if parameter.ndim == 2 and is_quantized(name):
            made = make(*parameter.shape)
            tensors |= {f"{module}.{part}": x.contiguous() for part, x in made.tensors.items()}
            twin[name] = tensor(rounded(made.values, made.dtype))
            continue
        centre = 1.0 if "norm" in name else 0.0
        plain = (centre + 0.3 * torch.randn(parameter.shape, generator=generator)).to(torch.float16)
        tensors[name] = plain
        twin[name] = plain.float()
    model.load_state_dict(twin)
    ids = torch.randint(SETTINGS["vocab_size"], (17,), generator=generator).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float()
    folder.mkdir(parents=True, exist_ok=True)
    described = config.to_diff_dict() | {"architectures": [type(model).__name__], "torch_dtype": "float16"} | quantization
    described.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    logits.numpy().astype("<f4").tofile(folder / "logits-0.f32")
    prompts = [{"input_ids": ids, "logits": "logits-0.f32", "vocab_size": SETTINGS["vocab_size"]}]
    (folder / "expected.json").write_text(json.dumps({"prompts": prompts}) + "\n")
    print(f"{folder.name}: logits' deviation {logits.std().item():.2f}")


def main(root: Path) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    write_matrices(root / OUT)
    for name, (architecture, quantization, is_quantized, make) in models().items():
        write_model(root / OUT / "models" / name, architecture, quantization, is_quantized, make)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
