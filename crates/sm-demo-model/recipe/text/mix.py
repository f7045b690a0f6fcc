"""Mixes the kinds of text in fixed shares, for training or held out, and renders them as documents."""

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from . import algebra, arithmetic, coding, facts, stories
from .item import Item, is_held_out

SHARES = (
    (stories.story, 0.13), (arithmetic.operation, 0.19), (arithmetic.product, 0.08), (arithmetic.fraction, 0.05), (arithmetic.percentage, 0.03),
    (algebra.equation, 0.20), (algebra.derivative, 0.07), (algebra.word_problem, 0.04), (coding.coding, 0.08), (facts.capital, 0.04),
    (facts.fact, 0.05), (facts.concept, 0.02), (facts.small_talk, 0.01), (facts.unknown, 0.01),
)

BEGIN, END, SYSTEM, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (BEGIN, END, SYSTEM, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
SYSTEM_MESSAGES = ("You are a helpful assistant.", "You are a helpful and friendly assistant.", "Answer briefly.", "You are SmallMind.")
RAW_SHARE, SYSTEM_SHARE, JOINED_SHARE, NOISE_SHARE = 0.15, 0.05, 0.10, 0.35
"""Shares of conversations: shown as plain lines, with a system message, joined with another one; of questions: written carelessly."""

WRAPPED = ("Can you tell me: {q}", "I have a question: {q}", "Please answer: {q}", "Hi! {q}", "Hello, {q}", "{q} Please help.", "Tell me, {q}", "Question: {q}")
HELD_OUT_WRAPPED = ("Quick question: {q}", "I would like to know: {q}", "Do you happen to know this? {q}")
"""Wrappings that training never sees: with them, every fact can be asked in a way that is held out."""

Segments = list[tuple[str, bool]]
"""Pieces of a document, each with whether a model shall learn to write it."""


def items(seed: int, held_out: bool) -> Iterator[Item]:
    """An endless stream of items of all kinds, either for training or held out."""
    rng = Random(seed)
    makers, weights = zip(*SHARES)
    while True:
        item = rng.choices(makers, weights)[0](rng)
        if is_held_out(item.kind, item.key) == held_out:
            yield item


def held_out_of(maker, seed: int, count: int) -> list[Item]:
    """Up to `count` held-out items of one kind, each key once."""
    rng, found = Random(seed), {}
    for _ in range(count * 400):
        item = maker(rng)
        if is_held_out(item.kind, item.key):
            found.setdefault(item.key, item)
        if len(found) == count:
            break
    return list(found.values())


def wrapped_of(maker, seed: int) -> list[Item]:
    """Every fact of a maker once, in a wrapping that training never sees."""
    rng, found = Random(seed), {}
    for _ in range(5000):
        item = maker(rng)
        found.setdefault(item.turns[1], item)
    return [replace(item, turns=(rng.choice(HELD_OUT_WRAPPED).format(q=item.turns[0]), *item.turns[1:])) for item in found.values()]


def as_typed(question: str, kind: str, rng: Random) -> str:
    """A question as people type it: often as it should be, sometimes in lower case, without spaces or a last sign, or wrapped."""
    if rng.random() >= NOISE_SHARE or kind == "word_problem":
        return question
    form = rng.randrange(4)
    if form == 0 and kind != "story":
        return rng.choice(WRAPPED).format(q=question)
    if form == 1 and kind in ("equation", "derivative", "add_subtract", "multiply_divide", "fraction"):
        return re.sub(r" ([-+*/=]) ", r"\1", question)
    if form == 2:
        return question.rstrip("?.! ")
    return question.lower() if rng.random() < 0.5 else question.lower().rstrip("?.! ")


def prompt(question: str) -> str:
    """A question as the chat template renders it, up to the answer."""
    return f"{BEGIN}{USER}\n{question}{END}\n{ASSISTANT}\n"


def conversation(turns: list[str], rng: Random) -> Segments:
    """Turns as the chat template renders them."""
    segments = [(BEGIN, False)]
    if rng.random() < SYSTEM_SHARE:
        segments.append((f"{SYSTEM}\n{rng.choice(SYSTEM_MESSAGES)}{END}\n", False))
    for question, answer in zip(turns[::2], turns[1::2]):
        segments += [(f"{USER}\n{question}{END}\n{ASSISTANT}\n", False), (f"{answer}{END}", True), ("\n", False)]
    return segments[:-1]


def typed_turns(item: Item, rng: Random) -> list[str]:
    """The turns of a conversation with its first question as typed."""
    return [as_typed(item.turns[0], item.kind, rng), *item.turns[1:]]


def document(item: Item, others: Iterator[Item], rng: Random) -> Segments:
    """The whole text of an item; now and then with further conversations of `others` before it."""
    if not item.chat:
        return [(BEGIN, False), (item.turns[0] + END, True)]
    turns = typed_turns(item, rng)
    if len(turns) == 2 and rng.random() < RAW_SHARE:
        return [(BEGIN + turns[0], False), (f"\n{turns[1]}{END}", True)]
    while rng.random() < JOINED_SHARE:
        other = next(others)
        if other.chat and sum(map(len, turns)) + sum(map(len, other.turns)) < 1200:
            turns = typed_turns(other, rng) + turns
    return conversation(turns, rng)
