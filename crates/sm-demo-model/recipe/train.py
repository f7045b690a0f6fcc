"""Trains the demo model or its draft, resumably, on text that the generator makes on the fly.

`train.py OUT --minutes M` goes on from OUT's checkpoint if there is one, until the model has learnt for M minutes in all; the
learning rate warms up, stays, and falls to zero over the last part of them (`--decay`). Stop it at any moment: at most a minute
is lost. `--start FILE.gguf` begins with the weights of a shipped file instead of noise.
Matrices inside the layers learn by Muon (https://kellerjordan.github.io/posts/muon/), all else by Adam.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from model import SHAPES, Decoder, from_gguf, load_named, save_pretrained
from text import mix

WARM_UP = 60
SAVE_EVERY = 60.0
"""Seconds between checkpoints."""
POOL = 8
"""Batches whose documents are sorted by length together."""
MUON_RATE, ADAM_RATE = 0.02, 0.004


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is replaced by a nearly orthogonal one: every direction moves alike."""

    def __init__(self, params: list[Tensor], momentum: float = 0.95):
        super().__init__(params, dict(lr=0.0, momentum=momentum))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                direction = orthogonal(p.grad.lerp(buffer, group["momentum"]))
                p.mul_(1 - group["lr"] * 0.01)
                p.add_(direction, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonal(g: Tensor) -> Tensor:
    """Moves the singular values of a matrix towards one by five steps of Newton and Schulz."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if g.shape[0] > g.shape[1] else x


class Documents:
    """Endless documents as `(ids, learn)`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.encoder, self.rng = tokenizer.backend_tokenizer, Random(seed)
        self.items, self.others = mix.items(seed, held_out=False), mix.items(seed + 500_000, held_out=False)

    def next(self) -> tuple[list[int], list[bool]]:
        """The next document; its first token is never a target."""
        ids, learn = [], []
        for text, is_learnt in mix.document(next(self.items), self.others, self.rng):
            piece = self.encoder.encode(text, add_special_tokens=False).ids
            ids += piece
            learn += [is_learnt] * len(piece)
        return ids, learn


def batches(documents: Documents, n_documents: int, n_parts: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Endless batches of documents, in parts of like length: inputs and targets `[rows, length]`, -1 where none.

    Parts are cut from a pool of several batches, so that little is padded.
    """
    while True:
        pool = sorted((documents.next() for _ in range(n_documents * POOL)), key=lambda document: len(document[0]))
        bounds = [len(pool) * part // (n_parts * POOL) for part in range(n_parts * POOL + 1)]
        parts = [padded(pool[start:stop]) for start, stop in zip(bounds, bounds[1:])]
        documents.rng.shuffle(parts)
        yield from (parts[start:start + n_parts] for start in range(0, len(parts), n_parts))


def padded(documents: list[tuple[list[int], list[bool]]]) -> tuple[Tensor, Tensor]:
    """Documents of one part, padded on the right."""
    length = max(len(ids) for ids, _ in documents) - 1
    inputs, targets = torch.zeros(len(documents), length, dtype=torch.long), torch.full((len(documents), length), -1)
    for row, (ids, learn) in enumerate(documents):
        inputs[row, :len(ids) - 1] = torch.tensor(ids[:-1])
        targets[row, :len(ids) - 1] = torch.tensor([token if wanted else -1 for token, wanted in zip(ids[1:], learn[1:])])
    return inputs, targets


def optimizers_of(model: Decoder) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, Adam for the token table and the norms."""
    matrices = [p for layer in model.layers for p in layer.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(matrices), torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)]


def save(path: Path, state: dict) -> None:
    """Writes a checkpoint so that a kill leaves the old or the new one."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def scale(step: int, elapsed: float, args: argparse.Namespace) -> float:
    """The learning rate of a step as a share of its peak."""
    left = 1 - elapsed / (60 * args.minutes)
    return min(1.0, (step + 1) / WARM_UP, max(0.0, left / args.decay))


def train(args: argparse.Namespace) -> None:
    """Runs until the time is over."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.out)
    model = Decoder(SHAPES[args.shape], len(tokenizer))
    if args.start:
        load_named(model, from_gguf(args.start).state_dict())
    model.to(device)
    optimizers = optimizers_of(model)
    path, first, before = args.out / f"{args.shape}.checkpoint", 0, 0.0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        first, before = state["step"], state.get("elapsed", 0.0)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, from step {first} on {device}", flush=True)
    started = saved_at = time.time()
    losses, n_learnt, n_seen = 0.0, 0, 0
    for step, batch in zip(count(first), batches(Documents(tokenizer, 1 + first), args.documents, args.parts)):
        elapsed = before + time.time() - started
        state = dict(model=model.state_dict(), optimizers=[optimizer.state_dict() for optimizer in optimizers], step=step, elapsed=elapsed)
        if time.time() - saved_at > SAVE_EVERY or elapsed > args.minutes * 60:
            save(path, state)
            saved_at = time.time()
        if elapsed > args.minutes * 60:
            break
        share, n_targets = scale(step, elapsed, args), sum(int((targets >= 0).sum()) for _, targets in batch)
        for optimizer, rate in zip(optimizers, (MUON_RATE, ADAM_RATE)):
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        for inputs, targets in batch:
            loss = model.loss(inputs.to(device), targets.to(device))
            (loss / n_targets).backward()
            losses += loss.item()
        for optimizer in optimizers:
            optimizer.step()
        n_learnt, n_seen = n_learnt + n_targets, n_seen + sum(inputs.numel() for inputs, _ in batch)
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {losses / n_learnt:.4f} rate {share:.2f} {n_seen / (time.time() - started):.0f} tok/s", flush=True)
            losses, n_learnt = 0.0, 0
    save_pretrained(model, tokenizer, args.out / args.shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="demo")
    parser.add_argument("--start", type=Path, help="a GGUF file to start from")
    parser.add_argument("--minutes", type=float, default=240)
    parser.add_argument("--decay", type=float, default=0.4, help="share of the time in which the learning rate falls to zero")
    parser.add_argument("--documents", type=int, default=40, help="documents in a batch")
    parser.add_argument("--parts", type=int, default=5, help="parts of like length in a batch")
    parser.add_argument("--threads", type=int, default=2)
    train(parser.parse_args())
