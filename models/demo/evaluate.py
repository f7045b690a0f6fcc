"""Evaluates the shipped file with the engine itself: `evaluate.py SM MODEL.gguf [--count N]`.

Every prompt is held out: the generator never emits it for training. Answers are greedy; stories are sampled at
temperature 0.8. Generated code runs in a Python process of its own with a time limit and without the site packages.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from random import Random

from text import algebra, arithmetic, coding, facts, mix, stories
from text.item import Item

GOALS = (
    (algebra.equation, 0.95), (arithmetic.operation, 0.98), (algebra.derivative, 0.90), (coding.coding, 0.90), (facts.fact, 0.95), (facts.capital, 0.95),
    (arithmetic.product, None), (arithmetic.fraction, None), (arithmetic.percentage, None), (algebra.word_problem, None),
)
STORY_PROMPTS = ("Once upon a time", "The quick brown fox", "In a distant galaxy", "The secret to happiness", "Tell me a story about a dragon.",
                 "Tell me a story about a brave mouse.", "Once upon a time, there was a little girl named Lily.", "Tell me a story.",
                 "In a small village", "Write a short story about an owl.")


def generate(args: argparse.Namespace, prompt: str, *options: str) -> str:
    """The continuation of a prompt."""
    command = [args.sm, "generate", "-m", args.model, "-n", "400", "--json", *options, prompt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)["text"]


def runs(answer: str, asserts: tuple[str, ...]) -> bool:
    """Whether the fenced code of an answer runs and passes its checks."""
    block = re.search(r"```python\n(.*?)```", answer, re.S)
    if block is None:
        return False
    program = block[1] + "\n" + "\n".join(f"assert {check}" for check in asserts)
    try:
        return subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, timeout=5).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def is_right(item: Item, answer: str) -> bool:
    """Whether an answer is right."""
    if item.kind == "coding":
        return runs(answer, item.check["asserts"])
    if item.kind == "fact":
        return item.answer in answer
    return answer.strip().splitlines()[-1:] == [f"Answer: {item.answer}"]


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


def evaluate(args: argparse.Namespace) -> bool:
    """Prints a table and tells whether every goal is met."""
    met = True
    for maker, goal in GOALS:
        items = mix.held_out_of(maker, 12345, args.count)
        wrong = []
        for item in items:
            answer = generate(args, item.turns[0], "--chat", "--temp", "0")
            if not is_right(item, answer):
                wrong.append((item.turns[0], item.answer, answer))
        share = 1 - len(wrong) / len(items)
        met &= goal is None or share >= goal
        print(f"{maker.__name__}: {share:.1%} of {len(items)}" + (f" (goal {goal:.0%})" if goal else ""), flush=True)
        for question, wanted, answer in wrong[:args.show]:
            print(f"  {question!r} wanted {wanted!r}, got {answer!r}")
    faulty, seeds = Counter(), Random(1)
    for index in range(50):
        prompt = STORY_PROMPTS[index % len(STORY_PROMPTS)]
        chat = ("--chat",) if prompt.startswith(("Tell", "Write")) else ()
        text = generate(args, prompt, *chat, "--temp", "0.8", "--seed", str(seeds.randrange(2**31)))
        faults = story_faults(text if chat else prompt + text)
        faulty.update(["faulty"] if faults else ["fine"])
        for fault in faults:
            print(f"  story {index} ({prompt!r}) {fault}")
    print(f"stories: {faulty['fine']} of 50 without a fault")
    return met and faulty["faulty"] == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sm")
    parser.add_argument("model")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--show", type=int, default=3)
    sys.exit(0 if evaluate(parser.parse_args()) else 1)
