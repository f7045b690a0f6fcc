"""Trains the demo model or its draft, resumably, on text that the generator makes on the fly.

The learning rate warms up, stays, and decays to zero in a last phase (`--finish STEPS`), so that training can
go on for as long as there is time. Stop it at any moment: at most `--save-every` steps are lost.
"""

import argparse
import time
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from text import mix

SHAPES = {
    "demo": dict(hidden_size=256, intermediate_size=704, num_hidden_layers=7, num_attention_heads=8, num_key_value_heads=4),
    "draft": dict(hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3),
}
CONTEXT = 512
WARM_UP = 300
PEAK = {"demo": 2.0e-3, "draft": 4.0e-3}


def model_of(shape: str, tokenizer: Tokenizer) -> LlamaForCausalLM:
    """A fresh model."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=2 * CONTEXT, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_theta=10000.0,
        bos_token_id=tokenizer.token_to_id(mix.BOS), eos_token_id=tokenizer.token_to_id(mix.EOS), initializer_range=0.02, **SHAPES[shape])
    return LlamaForCausalLM(config)


def batches(tokenizer: Tokenizer, seed: int, rows: int, length: int):
    """Endless batches `[rows, length + 1]`: documents joined end to end."""
    stream, rng, buffer = mix.items(seed, held_out=False), Random(seed), []
    need = rows * length + 1
    while True:
        while len(buffer) < need:
            texts = [mix.document(next(stream), rng) for _ in range(256)]
            for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
                buffer += encoded.ids
        block = torch.tensor(buffer[:need])
        buffer = buffer[need - 1:]
        yield block[:-1].view(rows, length), block[1:].view(rows, length)


def groups(model: torch.nn.Module) -> list[dict]:
    """Weight decay for matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [dict(params=matrices, weight_decay=0.05), dict(params=others, weight_decay=0.0)]


def rate(step: int, peak: float, finish: range | None) -> float:
    """The learning rate of a step."""
    if finish is not None and step >= finish.start:
        return peak * max(0.0, (finish.stop - step) / len(finish))
    return peak * min(1.0, (step + 1) / WARM_UP)


def save(path: Path, state: dict) -> None:
    """Writes a checkpoint so that a kill leaves the old or the new one."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(args: argparse.Namespace) -> None:
    """Runs until the time or the steps are over."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    model = model_of(args.shape, tokenizer).to(device)
    optimizer = torch.optim.AdamW(groups(model), lr=0.0, betas=(0.9, 0.98))
    path, step = args.out / f"{args.shape}.checkpoint", 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    finish = range(step, step + args.finish) if args.finish else None
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, from step {step} on {device}", flush=True)
    started, tokens, losses = time.time(), 0, []
    for inputs, targets in batches(tokenizer, 1 + step, args.rows, args.length):
        over = time.time() - started > args.minutes * 60
        if (finish is None and over) or (finish is not None and step >= finish.stop):
            break
        for group in optimizer.param_groups:
            group["lr"] = rate(step, PEAK[args.shape], finish)
        logits = model(inputs.to(device)).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.to(device).flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, tokens = step + 1, tokens + inputs.numel()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step} loss {sum(losses) / len(losses):.4f} {tokens / (time.time() - started):.0f} tok/s", flush=True)
            losses = []
        if step % args.save_every == 0:
            save(path, dict(model=model.state_dict(), optimizer=optimizer.state_dict(), step=step))
    save(path, dict(model=model.state_dict(), optimizer=optimizer.state_dict(), step=step))
    model.save_pretrained(args.out / args.shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="demo")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--finish", type=int, default=0, help="decay to zero over this many steps, then stop")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=CONTEXT)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=200)
    train(parser.parse_args())
