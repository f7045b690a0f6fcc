"""How `tokenizers` (with Oniguruma) splits texts by the expressions behind the names of `tokenizer.ggml.pre`.

    python xtask/golden/pre_tokenizers.py ROOT

writes `crates/sm-model/tests/data/pre_tokenizers.json` below ROOT. The names and their expressions are those of `llama-vocab.cpp` of
llama.cpp; where it has an expression adapted to its own engine, the published `tokenizer.json` that it quotes.
"""

import json
import pathlib
import sys

from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(contractions: str, number: str) -> str:
    """Words split where lower case turns to upper."""
    words = [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}{a}{LOWER}{b}{contractions}" for a, b in ("*+", "+*")]
    return "|".join(words) + rf"|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*" + END


GPT4O = cased(CONTRACTIONS + "?", r"\p{N}{1,3}")
DEEPSEEK3_WORDS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"""
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3_WORDS + r"[\r\n]*" + END]
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
LINES = r"[^\n]+|[\n]+"
HAN = r"&&[^\p{Han}]]"
KIMI_UPPER, KIMI_LOWER = UPPER[:-1] + HAN, LOWER[:-1] + HAN

RULES = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat mellum exaone4 jina-es jina-de jina-v1-en jina-v2-es "
    "jina-v2-de jina-v2-code roberta-bpe modern-bert a.x-4.0": [GPT2],
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe glm4 chatglm-bpe": [LLAMA3],
    "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez grok-2 solar-open kormo f2llmv2": [QWEN2],
    "qwen35": [
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + END,
    ],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥\u0800-一가-\uD7FF]+", r"\p{N}"],
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": DEEPSEEK3,
    "spark2_5": [*DEEPSEEK3[:2], DEEPSEEK3_WORDS + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"],
    "youtu": [
        "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
        cased(CONTRACTIONS + "?", r"\p{N}"),
    ],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": [r"\p{N}", GPT2],
    "tekken": [cased("", r"\p{N}")],
    "gpt-4o llama4 kanana2 minimax-m2 talkie granite-embed-multi-97m": [GPT4O],
    "tiny_aya cohere2moe": [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
    "poro-chat bloom gpt3-finnish": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "bailingmoe bailingmoe2 llada-moe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ],
    "seed-coder": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + END],
    "jais-2": [
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        + "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}",
    ],
    # llama.cpp groups the digits by code of its own, as this expression does.
    "afmoe": [
        r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
        "[一-鿿㐀-䶿豈-\uFAFF\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2FDFเ-\u0E7F\u0E80-\u0EFFក-\u17FFက-႟ꩠ-ꩿꧠ-\uA9FF가-\uD7AFᄀ-ᇿ]+",
        DEEPSEEK3[2],
    ],
    # llama.cpp has code of its own for the expression in `tokenization_kimi.py` of the model.
    "kimi-k2": [
        r"[\p{Han}]+"
        + "".join(
            rf"|[^\r\n\p{{L}}\p{{N}}]?{KIMI_UPPER}{a}{KIMI_LOWER}{b}{CONTRACTIONS}?" for a, b in ("*+", "+*")
        )
        + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END,
    ],
    "laguna": [LINES, QWEN2],
    "exaone-moe": [
        CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    ],
    "minicpm5": [
        r"\p{N}{1,3}", CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*" + END,
    ],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + END],
    "chameleon": [
        "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]", GPT2,
    ],
    "gemma4 granite-embed-multi-311m sarvam-moe": [LINES],
    "whitespace": [r"\S+"],
}

TEXTS = [
    "Hello, world! It's 2024; I'LL pay $1,234,567.89.",
    "  two  spaces\tand a tab\n\n\nthree lines\r\n  end  ",
    "naïve café — “quotes” ‘x’ … ¿qué? Ünïcödé e\u0301",
    "日本語のテキスト、そして中文。한국어 텍스트 １２３",
    "fooBarBAZQuux HTTPServer iPhone15 x=y+z; a/b\\c",
    "12345678901 1 12 123 1234 12a345 ٣٤٥٦ ²³",
    "if (x <= 10) {\n    return f\"{x:>5}\";\n}\n",
    "Привет, мир! हिन्दी में ไทยไม่มีช่องว่าง العربية",
    "🙂🙂 emoji 👩‍👩‍👧 and <sentinel:7> IMGIMGABZ #hash @at",
    "don't DON'T we've they're İstanbul'da l'été",
    " " * 21 + "x" + " " * 9,
    "a.b,c;d:e!f?g'h\"i`j~k^l|m_n",
]


def pieces(expressions: list[str], text: str) -> list[str]:
    splits = Sequence([Split(Regex(expression), "isolated") for expression in expressions])
    return [piece for piece, _ in splits.pre_tokenize_str(text)]


def main(out: pathlib.Path) -> None:
    rules = [
        {"names": names.split(), "pieces": [pieces(expressions, text) for text in TEXTS]}
        for names, expressions in RULES.items()
    ]
    path = out / "crates/sm-model/tests/data/pre_tokenizers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"texts": TEXTS, "rules": rules}, ensure_ascii=False, separators=(",", ":")) + "\n")


main(pathlib.Path(sys.argv[1]))
