"""What `tokenizers` (with Oniguruma) and `transformers` make of small `tokenizer.json` files: regular expressions, decoders, and
tokens that only `tokenizer_config.json` has.

    python xtask/golden/tokenizer_files.py ROOT

writes `crates/sm-model/tests/data/tokenizer_files.json` below ROOT.
"""

import json
import pathlib
import sys
import tempfile

from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

# Expressions that Oniguruma and the Rust crates read differently, with texts that show it.
EXPRESSIONS = [
    (r"\p{N}{1,3}+", "x 1234 5"),
    (r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+", "It's 12345, née  x\n\n!"),
    (r"\s+$", "a \nb  \n c "),
    (r"^b", "b\nb\n"),
    (r"^", "a\n\nb\n"),
    (r"(?m:a.)", "a\na"),
    (r"x{2}?", "xxxxx"),
    (r"x{,2}y", "xxxy y"),
    (r"(?:ab){1,2}+c", "abababababc"),
    (r"a(?i)b|c", "aBCac"),
    (r"[[:alpha:]]+", "é日a1"),
    (r"[[:punct:]]+", "a§$+!。b"),
    (r"[[:^alnum:]]", "a1é-日"),
    (r"[[:space:]x]+", "a \u00a0x\u2003b"),
    (r"\<a\>", "<a>"),
    (r"{x", "{x}"),
    (r"[a~~&b]", "a~&b"),
    (r"\w+", "é1_\u200d日-a"),
    (r"\W+", "a\u200d b"),
    (r"\p{^L}+", "ab12 c"),
    (r"\R", "a\r\nb\nc\u2028d"),
    (r"a\Z", "a\na\n"),
    (r"\h+", "xyz0fG"),
]


def byte_level():
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def added(id, content, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return token | flags


def file(model, **parts):
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return base | parts | {"model": model}


def bpe(tokens, merges=(), **options):
    return {"type": "BPE", "vocab": {token: id for id, token in enumerate(tokens)}, "merges": [list(merge) for merge in merges]} | options


WORDS = {"[UNK]": 0, "a": 1, "b": 2, "##b": 3, ".": 4, "'": 5, "##c": 6, "n't": 7, "c": 8}
WORD_LEVEL = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"}
WORD_PIECE = {"type": "WordPiece", "vocab": WORDS, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}
SPACES = {"type": "WhitespaceSplit"}
MARKS = [added(9, "[CLS]", special=True), added(10, "<x>")]

# name: (tokenizer.json, tokenizer_config.json, texts, sequences of ids to decode)
FILES = {
    "stacked quantifier": (
        file(bpe(["x", " ", "1", "2", "3", "4", "12", "34", "1234"], [("1", "2"), ("3", "4"), ("12", "34")]),
             pre_tokenizer={"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}+"}, "behavior": "Isolated", "invert": False}),
        {}, ["x 1234", "1234"], [],
    ),
    "no decoder": (
        file(WORD_LEVEL, pre_tokenizer=SPACES, added_tokens=[added(3, "<s>", special=True)]),
        {}, ["a b a", "a z", "<s> a"], [[1, 2], [3, 1, 2], [1, 3, 2], [0]],
    ),
    "word piece": (
        file(WORD_PIECE, pre_tokenizer=SPACES, added_tokens=MARKS, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}),
        {}, ["abc a .", "[CLS] a", "zz"], [[1, 3, 6], [1, 4, 2], [9, 1, 3], [1, 10, 2], [1, 7], [2, 5, 1]],
    ),
    "word piece without cleanup": (
        file(WORD_PIECE, pre_tokenizer=SPACES, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False}),
        {}, ["ab ."], [[1, 3, 4], [1, 7]],
    ),
    "strip and replace by expression": (
        file(bpe(["__a", "b__", "_a_b", "c", "a1", "12"]), decoder={"type": "Sequence", "decoders": [
            {"type": "Strip", "content": "_", "start": 1, "stop": 2},
            {"type": "Replace", "pattern": {"Regex": "\\p{N}{1,2}+$"}, "content": "#"},
        ]}),
        {}, [], [[0, 1, 2], [4, 5, 3], [2, 2]],
    ),
    "byte-level additions": (
        file(bpe(["a", "b", "ab", "Ġ", "Ã", "©"], [("a", "b")]), pre_tokenizer=byte_level(), decoder=byte_level(),
             added_tokens=[added(6, "日本"), added(7, "x y"), added(8, "<ü日>", special=True), added(9, "ĠĠ")]),
        {}, ["a日本b", "x yab", "a<ü日>"], [[0, 6, 1], [0, 7, 3, 1], [8, 4, 5], [0, 9, 1]],
    ),
    "tokens of the configuration": (
        file(bpe(["a", "b", "ab", "<s>", "</s>"], [("a", "b")]), decoder=byte_level(), added_tokens=[added(5, "<t>"), added(3, "<s>", special=True)]),
        {
            "added_tokens_decoder": {
                "6": {"content": "<new>", "special": True}, "3": {"content": "<s>", "special": True},
                "5": {"content": "<t>", "special": True}, "7": {"content": "<text>", "special": False, "normalized": False},
            },
            "eos_token": "</s>",
        },
        ["a<new>b", "<t>ab<text></s>", "<s>a"], [[0, 6, 1], [5, 0, 7, 4], [3, 2]],
    ),
}


def pieces(expression, text):
    return [piece for piece, _ in Split(Regex(expression), "isolated").pre_tokenize_str(text)]


def tokenizer(json_file, config):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "tokenizer.json").write_text(json.dumps(json_file))
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
        return PreTrainedTokenizerFast.from_pretrained(folder, clean_up_tokenization_spaces=False)


def main(out):
    expressions = [{"expression": e, "text": text, "pieces": pieces(e, text)} for e, text in EXPRESSIONS]
    files = []
    for name, (json_file, config, texts, sequences) in FILES.items():
        made = tokenizer(json_file, config)
        encode = lambda text: made.encode(text, add_special_tokens=False)
        decode = lambda ids, skip: made.decode(ids, skip_special_tokens=skip)
        encoded = [{"text": text, "ids": encode(text)} for text in texts]
        decoded = [{"ids": ids, "all": decode(ids, False), "plain": decode(ids, True)} for ids in sequences]
        files.append({"name": name, "file": json_file, "config": config, "encoded": encoded, "decoded": decoded})
    out = out / "crates/sm-model/tests/data/tokenizer_files.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"expressions": expressions, "files": files}, ensure_ascii=False, indent=0) + "\n")


main(pathlib.Path(sys.argv[1]))
