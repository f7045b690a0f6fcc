"""Mixes the kinds of text in fixed shares, for training or held out."""

from collections.abc import Iterator
from random import Random

from . import algebra, arithmetic, coding, facts, stories
from .item import Item, is_held_out

SHARES = (
    (stories.story, 0.20), (arithmetic.operation, 0.17), (arithmetic.product, 0.07), (arithmetic.fraction, 0.05), (arithmetic.percentage, 0.03),
    (algebra.equation, 0.16), (algebra.derivative, 0.10), (algebra.word_problem, 0.06), (coding.coding, 0.09), (facts.capital, 0.02),
    (facts.fact, 0.02), (facts.concept, 0.02), (facts.small_talk, 0.005), (facts.unknown, 0.005),
)

USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
BOS, EOS = "<|begin|>", "<|endoftext|>"
SPECIAL = (BOS, EOS, USER, ASSISTANT, END)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
RAW_SHARE = 0.15
"""Share of one-turn conversations that are shown as plain text, question and answer on lines of their own."""


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


def prompt(item: Item) -> str:
    """The text up to the last answer, as the chat template renders it."""
    text = BOS
    for index, turn in enumerate(item.turns[:-1]):
        text += f"{USER if index % 2 == 0 else ASSISTANT}\n{turn}{END}\n"
    return text + f"{ASSISTANT}\n"


def document(item: Item, rng: Random) -> str:
    """The whole text of an item, with its special tokens."""
    if not item.chat:
        return f"{BOS}{item.turns[0]}{EOS}"
    if len(item.turns) == 2 and rng.random() < RAW_SHARE:
        return f"{BOS}{item.turns[0]}\n{item.turns[1]}{EOS}"
    return f"{prompt(item)}{item.turns[-1]}{END}\n{EOS}"
