"""Writes the logits of the shipped models, and the hidden states behind their final norm, as `transformers` computes them from the very files.

The package `gguf` reads `crates/sm-demo-model/*.gguf` and turns the blocks into single precision.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

FOLDER, OUT = Path("crates/sm-demo-model"), Path("crates/sm-model/tests/data/demo")
sys.path.insert(0, str(FOLDER / "recipe"))
from model import from_gguf  # noqa: E402 (the recipe is no package)
TEXT = "<|begin|><|user|>\nSolve for x: 2x + 3 = 9<|end|>\n<|assistant|>\nSubtract 3 from both sides: 2x = 9 - 3."


def main(root: Path) -> None:
    torch.set_num_threads(1)
    ids = Tokenizer.from_file(str(FOLDER / "recipe/tokenizer.json")).encode(TEXT, add_special_tokens=False).ids
    for name in ("demo", "draft"):
        model = from_gguf(FOLDER / f"{name}.gguf")
        with torch.no_grad():
            inputs = torch.tensor([ids])
            logits = model(inputs, use_cache=False).logits[0].float()
            hidden = model.model(inputs, use_cache=False).last_hidden_state[0].double()
        folder = root / OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        logits.numpy().astype("<f4").tofile(folder / "logits.f32")
        expected = {"prompts": [{"input_ids": ids, "logits": "logits.f32", "vocab_size": logits.shape[1]}]}
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        pooled = {"input_ids": ids, "mean": hidden.mean(0).tolist(), "last": hidden[-1].tolist()}
        (folder / "embeddings.json").write_text(json.dumps(pooled) + "\n")
        print(f"{name}: {len(ids)} tokens, logits' deviation {logits.std().item():.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
