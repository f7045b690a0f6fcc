"""Evaluates the models that come with the program, with the program itself: `evaluate.py SM`.

Every prompt is held out: the generator never emits it for training. Answers are greedy; stories are sampled at
temperature 0.8. Generated code runs in a Python process of its own, in an empty folder, without the site packages and
with limits on time, memory and files. If the weights in full precision lie in `build/`, their perplexity is compared.
The share of accepted drafts is that of the draft's greedy tokens along the demo model's greedy answers.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import torch

from model import from_gguf
from text import algebra, arithmetic, coding, facts, mix, stories
from text.item import Item

HERE = Path(__file__).parent
GOALS = (
    (algebra.equation, 0.95), (arithmetic.operation, 0.98), (algebra.derivative, 0.90), (coding.coding, 0.90), (facts.fact, 0.95), (facts.capital, 0.95),
    (arithmetic.product, None), (arithmetic.fraction, None), (arithmetic.percentage, None), (algebra.word_problem, None), (facts.unknown, None),
)
STORY_PROMPTS = ("Once upon a time", "The quick brown fox", "In a distant galaxy", "The secret to happiness", "Tell me a story about a dragon.",
                 "Tell me a story about a brave mouse.", "Once upon a time, there was a little girl named Lily.", "Tell me a story.",
                 "In a small village", "Write a short story about an owl.")
ACCEPTED, PERPLEXITY = 0.60, 0.02
"""The goals for the share of accepted drafts and for the loss of the shipped file."""


def generate(sm: str, prompt: str, *options: str) -> dict:
    """What `sm generate` tells about the continuation of a prompt by the demo model."""
    command = [sm, "generate", "-m", "demo", "-t", "1", "-n", "400", "--json", *options, prompt]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)


def answer(sm: str, question: str) -> str:
    """The greedy answer to a question."""
    return generate(sm, question, "--chat", "--temp", "0")["text"]


def limit() -> None:
    """Limits the process that runs generated code: two seconds, 512 MiB, no file, no child."""
    for what, most in ((resource.RLIMIT_CPU, 2), (resource.RLIMIT_AS, 1 << 29), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 16)):
        resource.setrlimit(what, (most, most))


def runs(reply: str, asserts: tuple[str, ...]) -> bool:
    """Whether the fenced code of a reply runs and passes its checks."""
    block = re.search(r"```python\n(.*?)```", reply, re.S)
    if block is None:
        return False
    program = block[1] + "\n" + "\n".join(f"assert {check}" for check in asserts)
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = [sys.executable, "-I", "-S", "-c", program]
            return subprocess.run(command, capture_output=True, timeout=5, cwd=folder, env={}, preexec_fn=limit).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def is_right(item: Item, reply: str) -> bool:
    """Whether a reply is right."""
    if item.kind == "coding":
        return runs(reply, item.check["asserts"])
    if item.kind in ("fact", "unknown"):
        return item.answer in reply
    return reply.strip().splitlines()[-1:] == [f"Answer: {item.answer}"]


def repetition(text: str) -> float:
    """The share of 4-grams of words that occurred before."""
    words = text.split()
    grams = [tuple(words[i:i + 4]) for i in range(len(words) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def story_faults(text: str) -> list[str]:
    """What is wrong with a story: repetition, a sentence that does not end, more than two names."""
    faults = []
    if repetition(text) >= 0.10:
        faults.append(f"repeats {repetition(text):.0%} of its 4-grams")
    if not text.rstrip().endswith((".", "!", "?", '"')):
        faults.append("does not end a sentence")
    names = {word for word in re.findall(r"[A-Z][a-z]+", text) if word in stories.NAMES}
    if len(names) > 2:
        faults.append(f"has {len(names)} names: {', '.join(sorted(names))}")
    return faults


def held_out(maker: Callable[[Random], Item], seed: int, count: int) -> list[Item]:
    """Held-out items of one kind; of facts, also all of them in wrappings that training never sees."""
    items = mix.held_out_of(maker, seed, count)
    return items + mix.wrapped_of(maker, seed) if maker in (facts.fact, facts.capital) else items


def questions(sm: str, count: int, show: int) -> bool:
    """Prints the share of right answers for each kind and tells whether every goal is met."""
    met = True
    for maker, goal in GOALS:
        items = held_out(maker, 12345, count)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            replies = list(pool.map(lambda item: answer(sm, item.turns[0]), items))
        wrong = [(item, reply) for item, reply in zip(items, replies) if not is_right(item, reply)]
        share = 1 - len(wrong) / len(items)
        met &= goal is None or share >= goal
        print(f"{maker.__name__}: {share:.1%} of {len(items)}" + (f" (goal {goal:.0%})" if goal else ""), flush=True)
        for item, reply in wrong[:show]:
            print(f"  {item.turns[0]!r} wanted {item.answer or item.check!r}, got {reply!r}")
    return met


def story_samples(sm: str) -> bool:
    """Samples 50 stories and tells whether none has a fault."""
    faulty, seeds = Counter(), Random(1)
    for index in range(50):
        prompt = STORY_PROMPTS[index % len(STORY_PROMPTS)]
        chat = ("--chat",) if prompt.startswith(("Tell", "Write")) else ()
        text = generate(sm, prompt, *chat, "--temp", "0.8", "--seed", str(seeds.randrange(2**31)))["text"]
        faults = story_faults(text if chat else prompt + text)
        faulty.update(["faulty"] if faults else ["fine"])
        for fault in faults:
            print(f"  story {index} ({prompt!r}) {fault}: {text!r}")
    print(f"stories: {faulty['fine']} of 50 without a fault", flush=True)
    return faulty["faulty"] == 0


def perplexity(sm: str, model: str, text: Path) -> float:
    """The perplexity of documents."""
    command = [sm, "perplexity", "-m", model, "--kv-type", "f32", "--split", "\n====\n", "--json", str(text)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["perplexity"]


def file_loss(sm: str) -> bool:
    """Compares the shipped file's perplexity on held-out documents with that of the weights in full precision."""
    if not (HERE / "build/demo/model.safetensors").exists():
        print(f"perplexity: left out, the weights in full precision are not in {HERE / 'build'}")
        return True
    items, rng = mix.items(98765, held_out=True), Random(0)
    texts = ["".join(text for text, _ in mix.document(next(items), items, rng)).removeprefix(mix.BEGIN) for _ in range(400)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "held_out.txt"
        path.write_text("".join(f"{text}\n====\n" for text in texts))
        full, shipped = perplexity(sm, str(HERE / "build/demo"), path), perplexity(sm, "demo", path)
    print(f"perplexity: {shipped:.5f} shipped, {full:.5f} in full precision, {shipped / full - 1:+.3%} (goal {PERPLEXITY:.0%})")
    return shipped / full - 1 < PERPLEXITY


def tokens_of(sm: str, text: str) -> list[int]:
    """The ids of a text with its special tokens, without sequence marks."""
    command = [sm, "tokenize", "-m", "demo", "--json", text]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def accepted(sm: str, count: int) -> bool:
    """Prints the share of the demo model's greedy tokens that its draft proposes, for each kind; talk has no held-out items."""
    draft = from_gguf(HERE / "draft.gguf")
    met, makers = True, (*(maker for maker, _ in mix.SHARES if maker is not stories.story), stories.story)
    for maker in makers:
        items = held_out(maker, 777, count) or [maker(Random(seed)) for seed in range(count)]
        n_accepted = n_tokens = 0
        for item in items:
            prompt = mix.prompt(item.turns[0]) if item.chat else mix.BEGIN + " ".join(item.turns[0].split()[:4])
            start = tokens_of(sm, prompt.removeprefix(mix.BEGIN))
            made = generate(sm, prompt.removeprefix(mix.BEGIN), "--temp", "0")["tokens"]
            with torch.no_grad():
                proposed = draft(torch.tensor([start + made])).logits[0].argmax(-1)[len(start) - 1:-1]
            n_accepted += int((proposed == torch.tensor(made)).sum())
            n_tokens += len(made)
        met &= n_accepted / n_tokens >= ACCEPTED
        print(f"drafts accepted, {maker.__name__}: {n_accepted / n_tokens:.1%} of {n_tokens} tokens (goal {ACCEPTED:.0%})", flush=True)
    return met


def evaluate(args: argparse.Namespace) -> bool:
    """Prints every figure and tells whether every goal is met."""
    steps: tuple[Callable[[], bool], ...] = (
        lambda: questions(args.sm, args.count, args.show), lambda: story_samples(args.sm), lambda: file_loss(args.sm), lambda: accepted(args.sm, 20))
    return all([step() for step in steps])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sm")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--show", type=int, default=3)
    sys.exit(0 if evaluate(parser.parse_args()) else 1)
