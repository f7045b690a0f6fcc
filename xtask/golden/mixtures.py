"""Writes crates/sm-model/tests/data/mixtures.json: the data types that llama.cpp's quantizer gives to the tensors of models.

llama.cpp is the library in the npm package `@node-llama-cpp/linux-x64`. The models have random weights and the smallest
shapes whose rows are whole blocks of all types. For each mixture the file lists the tensors whose type is neither F32 nor
that of most:

    [{"n_layers": …, "heads_per_kv_head": …, "is_tied": …, "n_experts": …, "has_importance": …,
      "mixtures": {"q4_k_m": {"file_type": 15, "types": {"q6_k": ["blk.0.attn_v.weight", …]}}}}]
"""

import ctypes
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFWriter

OUT = Path("crates/sm-model/tests/data")
PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
WIDTH = 256
HEADS = 8
VOCAB = 288

MODELS = [
    {"n_layers": 18, "heads_per_kv_head": 4, "is_tied": False, "n_experts": 0, "has_importance": False},
    {"n_layers": 18, "heads_per_kv_head": 1, "is_tied": True, "n_experts": 0, "has_importance": True},
    {"n_layers": 9, "heads_per_kv_head": 4, "is_tied": False, "n_experts": 0, "has_importance": True},
    {"n_layers": 9, "heads_per_kv_head": 2, "is_tied": False, "n_experts": 8, "has_importance": False},
    {"n_layers": 9, "heads_per_kv_head": 4, "is_tied": False, "n_experts": 4, "has_importance": False},
    {"n_layers": 80, "heads_per_kv_head": 8, "is_tied": False, "n_experts": 0, "has_importance": False},
]

# `llama_ftype`.
MIXTURES = {
    "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13,
    "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "q2_k_s": 21, "iq4_nl": 25,
    "iq4_xs": 30, "tq1_0": 36, "tq2_0": 37, "mxfp4_moe": 38,
}  # fmt: skip


class ImportanceEntry(ctypes.Structure):
    """`llama_model_imatrix_data`."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class QuantizeParams(ctypes.Structure):
    """`llama_model_quantize_params`."""

    _fields_ = (
        [(name, ctypes.c_int32) for name in ["nthread", "ftype", "output_tensor_type", "token_embedding_type"]]
        + [
            (name, ctypes.c_bool)
            for name in ["allow_requantize", "quantize_output_tensor", "only_copy", "pure", "keep_split", "dry_run"]
        ]
        + [(name, ctypes.c_void_p) for name in ["imatrix", "kv_overrides", "tt_overrides", "prune_layers"]]
    )


def load_llama(folder):
    """llama.cpp's library out of the npm package."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (package,) = Path(folder).glob("*.tgz")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    libraries = Path(folder) / "package/bins/linux-x64"
    (ggml,) = libraries.glob("libggml.v*.so")
    ctypes.CDLL(str(ggml), mode=ctypes.RTLD_GLOBAL).ggml_backend_load_all_from_path(str(libraries).encode())
    (path,) = libraries.glob("libllama.v*.so")
    llama = ctypes.CDLL(str(path))
    llama.llama_model_quantize_default_params.restype = QuantizeParams
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(QuantizeParams)]
    log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)
    llama.llama_log_set(log, None)
    llama.log = log
    return llama


def tensors(model):
    """Names and shapes, in the order of llama.cpp's converter."""
    kv = WIDTH // model["heads_per_kv_head"]
    square = (WIDTH, WIDTH)
    yield "token_embd.weight", (VOCAB, WIDTH)
    for layer in range(model["n_layers"]):
        yield f"blk.{layer}.attn_norm.weight", (WIDTH,)
        yield f"blk.{layer}.attn_q.weight", square
        yield f"blk.{layer}.attn_k.weight", (kv, WIDTH)
        yield f"blk.{layer}.attn_v.weight", (kv, WIDTH)
        yield f"blk.{layer}.attn_output.weight", square
        yield f"blk.{layer}.ffn_norm.weight", (WIDTH,)
        if model["n_experts"]:
            yield f"blk.{layer}.ffn_gate_inp.weight", (model["n_experts"], WIDTH)
        ending = "_exps" if model["n_experts"] else ""
        shape = (model["n_experts"], *square) if model["n_experts"] else square
        for part in ["gate", "up", "down"]:
            yield f"blk.{layer}.ffn_{part}{ending}.weight", shape
    yield "output_norm.weight", (WIDTH,)
    if not model["is_tied"]:
        yield "output.weight", (VOCAB, WIDTH)


def write_model(path, model):
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_block_count(model["n_layers"])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // model["heads_per_kv_head"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    if model["n_experts"]:
        writer.add_expert_count(model["n_experts"])
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(1)
    for name, shape in tensors(model):
        writer.add_tensor(name, random.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def importance(model):
    """The entries for all matrices, ended by an empty one, with equal importance throughout."""
    ones = (ctypes.c_float * WIDTH)(*[1.0] * WIDTH)
    names = [name for name, shape in tensors(model) if len(shape) == 2]
    entries = [ImportanceEntry(name.encode(), ones, WIDTH) for name in names]
    return (ImportanceEntry * (len(names) + 1))(*entries, ImportanceEntry(None, None, 0))


def exceptions(path):
    """The types of the tensors that are neither F32 nor of the most frequent type."""
    types = {tensor.name: tensor.tensor_type.name.lower() for tensor in GGUFReader(path).tensors}
    ((most, _),) = Counter(kind for kind in types.values() if kind != "f32").most_common(1)
    found = {}
    for name, kind in sorted(types.items()):
        if kind not in ("f32", most):
            found.setdefault(kind, []).append(name)
    return {"most": most, "types": found}


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        llama = load_llama(folder)
        for model in MODELS:
            source, target = f"{folder}/model.gguf", f"{folder}/quantized.gguf"
            write_model(source, model)
            entries = importance(model)
            mixtures = {}
            for name, file_type in MIXTURES.items():
                if name == "q2_k_s" and not model["has_importance"]:
                    continue  # llama.cpp refuses it.
                params = llama.llama_model_quantize_default_params()
                params.ftype, params.nthread = file_type, 2
                if model["has_importance"]:
                    params.imatrix = ctypes.cast(entries, ctypes.c_void_p)
                if llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
                    raise RuntimeError(f"llama.cpp cannot quantize to {name}")
                mixtures[name] = {"file_type": file_type, **exceptions(target)}
            results.append({**model, "mixtures": mixtures})
    with open(out / "mixtures.json", "w") as file:
        json.dump(results, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / OUT)
