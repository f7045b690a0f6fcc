"""Trains the tokenizer: byte-level BPE in which every digit is a token of its own. `vocabulary.py OUT [FILE]` writes it to OUT,
or the one in FILE again.

It is written with the pre-tokenizer of SmolLM, for which GGUF has a name. Training keeps apostrophes apart from the
letters behind them, so that no merge joins what a quote in code and a contraction would cut differently; without
such merges both pre-tokenizers give the same tokens.
"""

import sys
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from text import mix

VOCAB_SIZE = 2048
N_ITEMS = 40_000
SPLIT = r"\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"


def train(out: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=list(mix.SPECIAL), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = ("\n".join(item.turns) for item in islice(mix.items(0, held_out=False), N_ITEMS))
    tokenizer.train_from_iterator(texts, trainer)
    write(tokenizer, out)
    print(f"{tokenizer.get_vocab_size()} tokens")


def write(tokenizer: Tokenizer, out: Path) -> None:
    """Writes a trained vocabulary as it is used: with SmolLM's pre-tokenizer, and a mark before each text."""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{mix.BEGIN} $A", pair=f"{mix.BEGIN} $A $B", special_tokens=[(mix.BEGIN, tokenizer.token_to_id(mix.BEGIN))])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=mix.BEGIN, eos_token=mix.END, add_bos_token=True, additional_special_tokens=list(mix.SPECIAL[2:]))
    wrapped.chat_template = mix.CHAT_TEMPLATE
    wrapped.save_pretrained(out)


if __name__ == "__main__":
    folder, known = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    if known:
        write(Tokenizer.from_file(known[0]), folder)
    else:
        train(folder)
