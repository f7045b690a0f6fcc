"""How an engine is driven: one JSON object per line on standard input, one answer per line on standard output.

    {"call": "load", "model": PATH, "n_threads": N, "context_len": N, "n_sequences": N, "setting": NAME}
    {"call": "prefill", "n_tokens": N}
    {"call": "decode", "n_tokens": N, "depth": N, "n_sequences": N}

An answer is {"seconds": X} or {"error": TEXT}. A prompt is of random tokens that were not used before, and its time
includes the logits of its last token. Decoding is one token of each sequence per step behind `depth` positions, which are
filled before the clock starts; its time is that of `n_tokens` steps. The end of standard input ends the program.
"""

import json
import os
import random
import sys

from gguf import GGUFReader


def vocab_size(path):
    """The number of tokens of a GGUF file."""
    return len(GGUFReader(path).fields["tokenizer.ggml.tokens"].data)


class Tokens:
    """A source of random tokens."""

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size
        self.random = random.Random(1)

    def draw(self, n_tokens):
        """Ids from 3 on: the first of a vocabulary are special ones."""
        return [self.random.randrange(3, self.vocab_size) for _ in range(n_tokens)]


def serve(engine):
    """Answers requests with the methods `load`, `prefill` and `decode` of `engine`, which give seconds."""
    # What a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        call = getattr(engine, request.pop("call"))
        try:
            answer = {"seconds": call(**request)}
        except Exception as error:  # whatever it is, the caller has to know
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
