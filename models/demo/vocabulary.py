"""Trains the tokenizer: byte-level BPE in which every digit is a token of its own."""

import sys
from itertools import islice
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from text import mix

VOCAB_SIZE = 2048
N_DOCUMENTS = 60_000
SPLIT = r"\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"


def train(out: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=list(mix.SPECIAL), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    rng = Random(0)
    texts = ("\n".join(item.turns) for item in islice(mix.items(0, held_out=False), N_DOCUMENTS))
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=mix.BOS, eos_token=mix.EOS, additional_special_tokens=list(mix.SPECIAL[2:]))
    wrapped.chat_template = mix.CHAT_TEMPLATE
    wrapped.save_pretrained(out)
    sample = mix.document(next(mix.items(1, held_out=False)), rng)
    ids = tokenizer.encode(sample, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == sample
    print(f"{tokenizer.get_vocab_size()} tokens; {len(sample) / len(ids):.2f} characters per token")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
