"""What the generators make: documents of plain text or turns of a conversation."""

import hashlib
from dataclasses import dataclass, field

HELD_OUT_SHARE = 20
"""One key in this many is kept out of the training text and used for evaluation."""


ALWAYS = "always: "
"""Keys that begin so are never held out: knowledge that training must have seen in one wording."""


@dataclass(frozen=True)
class Item:
    """One document.

    `turns` alternates user and assistant texts and starts with the user; a document of plain text has one
    entry and `chat` unset. `key` names what is asked, whatever the wording: all items with one key are
    either for training or held out. `answer` is what a right reply ends in, where that can be checked.
    """

    kind: str
    key: str
    turns: tuple[str, ...]
    chat: bool = True
    answer: str | None = None
    check: dict = field(default_factory=dict, hash=False)


def is_held_out(kind: str, key: str) -> bool:
    """Whether items with this key belong to the evaluation, decided by a hash alone."""
    if key.startswith(ALWAYS):
        return False
    digest = hashlib.sha256(f"{kind}:{key}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % HELD_OUT_SHARE == 0
