"""Writes tiny random models of every supported architecture with their logits, as computed by `transformers`.

Each folder holds `config.json`, the weights (safetensors; for many also `model.gguf` of the same weights) and
`expected.json`: a list of prompts, each with the file of its logits (float32, little-endian, [positions, vocabulary]).

Weights are rounded to values that F32, F16 and BF16 all hold exactly, so that one set of logits serves every file.
Each case names settings (`without`) that must change the logits: a feature that does not matter is not tested.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import architectures_gguf
from architectures_table import CASES, Case

OUT = Path("crates/sm-model/tests/data/arch")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# How much a feature has to move some logit to count as tested; far above the tolerance of the tests.
MATTERS = 0.05


def exactly_representable(x: torch.Tensor) -> torch.Tensor:
    """Rounds to BF16 and drops what would be subnormal in F16."""
    x = x.to(torch.bfloat16).to(torch.float32)
    return torch.where(x.abs() < 1e-4, torch.zeros_like(x), x)


def randomize(model: torch.nn.Module, case: Case, generator: torch.Generator) -> None:
    """Fills weights, norms and biases; the defaults (ones and zeros) would hide a weight that is not read."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name or ".ln_" in name:
            centre = 0.0 if name.endswith("bias") or case.norm_adds_one else 1.0
            value = centre + 0.25 * noise
        elif "embed" in name or ".wte." in name or ".wpe." in name:
            value = case.embedding_std * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        else:
            value = case.std * noise
        p.data.copy_(exactly_representable(value))


def scale_queries(model: torch.nn.Module, beta: float, interval: int) -> None:
    """Turns Mistral into Ministral 3 (`modeling_ministral3.py` of transformers 5): a factor on queries that grows with their position.
    It commutes with the rotation, so that it can be applied to the projection."""

    def scaled(_module, _inputs, queries: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(queries.shape[1])
        return queries * (1 + beta * torch.log(1 + torch.floor(positions / interval)))[:, None]

    for layer in model.model.layers:
        layer.self_attn.q_proj.register_forward_hook(scaled)


def build(case: Case, settings: dict) -> torch.nn.Module:
    settings = dict(settings)
    beta = settings.pop("llama_4_scaling_beta", 0.0)
    config = AutoConfig.for_model("mistral" if case.model_type == "ministral3" else case.model_type, **settings)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    if beta:
        scale_queries(model, beta, settings["rope_scaling"]["original_max_position_embeddings"])
    return model


def logits_of(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().contiguous()


def check_features(case: Case, state: dict, prompts: list[list[int]], logits: list[torch.Tensor]) -> None:
    for override in case.without:
        other = build(case, case.settings | override)
        other.load_state_dict(state, strict=False)
        moved = max((logits_of(other, p) - l).abs().max().item() for p, l in zip(prompts, logits))
        if moved < MATTERS:
            raise SystemExit(f"{case.name}: {override} moves the logits by {moved} only")


def check_routing(case: Case, model: torch.nn.Module, prompts: list[list[int]]) -> None:
    """Refuses routers whose choice hangs on a rounding error."""
    if "router" not in case.features:
        return
    top_k = case.settings["num_experts_per_tok"]
    for ids in prompts:
        with torch.no_grad():
            routers = model(torch.tensor([ids]), output_router_logits=True, use_cache=False).router_logits
        for router in routers:
            ranked = router.float().sort(dim=-1, descending=True).values
            margin = (ranked[:, top_k - 1] - ranked[:, top_k]).min().item()
            if margin < 1e-3:
                raise SystemExit(f"{case.name}: two experts are within {margin}; take another seed")


def write_config(case: Case, model: torch.nn.Module, folder: Path) -> None:
    config = model.config.to_diff_dict() | {"architectures": [type(model).__name__], "torch_dtype": "float32"}
    config.pop("_name_or_path", None)
    config.pop("dtype", None)
    config |= case.config_edits
    config = {k: v for k, v in config.items() if v != "absent"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_weights(case: Case, model: torch.nn.Module, folder: Path) -> None:
    dtype = DTYPES[case.dtype]
    tied = model.config.tie_word_embeddings
    state = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    metadata = {"format": "pt"}
    if case.n_shards == 1:
        save_file(state, folder / "model.safetensors", metadata)
        return
    names = sorted(state)
    shards = [names[i :: case.n_shards] for i in range(case.n_shards)]
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{case.n_shards:05}.safetensors"
        save_file({n: state[n] for n in shard}, folder / file, metadata)
        weight_map |= {n: file for n in shard}
    total = sum(t.numel() * t.element_size() for t in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_case(case: Case, out: Path) -> None:
    generator = torch.Generator().manual_seed(case.seed)
    model = build(case, case.settings)
    randomize(model, case, generator)
    model.tie_weights()
    vocab_size = case.settings["vocab_size"]
    prompts = [
        torch.randint(vocab_size, (n,), generator=generator).tolist() for n in case.prompt_lengths
    ]
    logits = [logits_of(model, p) for p in prompts]
    check_features(case, model.state_dict(), prompts, logits)
    check_routing(case, model, prompts)

    folder = out / case.name
    folder.mkdir(parents=True, exist_ok=True)
    write_config(case, model, folder)
    write_weights(case, model, folder)
    if case.gguf_dtype:
        architectures_gguf.write(case, model, folder / "model.gguf")
    cases = []
    for i, (ids, values) in enumerate(zip(prompts, logits)):
        file = f"logits-{i}.f32"
        values.numpy().astype("<f4").tofile(folder / file)
        cases.append({"input_ids": ids, "logits": file, "vocab_size": vocab_size})
    expected = {"features": case.features, "prompts": cases}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    spread = logits[0].std().item()
    print(f"{case.name}: {sum(p.numel() for p in model.parameters())} parameters, logits' deviation {spread:.2f}")


def main(root: Path) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in CASES:
        write_case(case, root / OUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
