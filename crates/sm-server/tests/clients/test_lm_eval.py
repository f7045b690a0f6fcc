"""lm-eval by local-completions: the log-likelihoods of 50 documents are those of `sm perplexity`."""

import json
import math
import os
import pathlib
import subprocess
import tempfile

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

N_DOCUMENTS = 50
DOCS = pathlib.Path(__file__).parents[4] / "docs"


def documents() -> list[str]:
    """Paragraphs of our documents that fit into the context."""
    texts = [path.read_text() for path in sorted(DOCS.glob("*.md"))]
    paragraphs = [paragraph.strip("\n") for text in texts for paragraph in text.split("\n\n")]
    return [paragraph for paragraph in paragraphs if 40 < len(paragraph) < 300 and "\n" in paragraph][:N_DOCUMENTS]


def expected(document: str) -> tuple[float, int]:
    """The log-likelihood of a document and how many tokens it is of."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(document)
        file.flush()
        printed = subprocess.run(
            [os.environ["SM"], "perplexity", "--quiet", "--json", file.name], capture_output=True, text=True, check=True
        )
    measured = json.loads(printed.stdout)
    assert measured["documents"] == 1, measured
    return -measured["nll"] * measured["tokens"], measured["tokens"]


# Its tokenizer is the server's, by /tokenizer_info and /tokenize. Texts begin with the token 0, which lm-eval takes for none unless it
# is told.
model = LocalCompletionsAPI(
    model="demo",
    base_url=os.environ["SM_URL"] + "/v1/completions",
    max_length=1024,
    batch_size=8,
    custom_prefix_token_id=0,
)
assert model.tokenizer_backend == "remote" and model.tokenized_requests, model.tokenizer_backend
texts = documents()
assert len(texts) == N_DOCUMENTS
requests = [
    Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=index)
    for index, text in enumerate(texts)
]
found = model.loglikelihood_rolling(requests, disable_tqdm=True)
worst = 0.0
for text, loglikelihood in zip(texts, found):
    reference, n_tokens = expected(text)
    difference = abs(loglikelihood - reference)
    worst = max(worst, difference)
    # Each term is written with the digits of a 32-bit number.
    assert difference <= n_tokens * 1e-6 * max(1.0, abs(reference) / n_tokens), (text, loglikelihood, reference)
assert math.isfinite(sum(found)) and sum(found) < -1000, found
print(f"ok {N_DOCUMENTS} documents with lm-eval {lm_eval.__version__}, differences up to {worst:.1e}")
