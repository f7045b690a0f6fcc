"""Drives CTranslate2 on a model of random weights with the dimensions of a GGUF file.

It reads no GGUF files; its nearest format, int8 with a scale per row, stands for all of them. Its interface generates from a
prompt, so that the time of a step is the difference between a long and a short answer.
"""

import shutil
import tempfile
from time import perf_counter

import ctranslate2
import numpy as np
from ctranslate2.specs import transformer_spec
from ctranslate2.specs.common_spec import Activation
from gguf import GGUFReader

import protocol


class Engine:
    def load(self, model, n_threads, context_len, n_sequences, setting):
        del context_len, n_sequences  # its cache grows
        folder = tempfile.mkdtemp(prefix="ctranslate2-")
        try:
            write(GGUFReader(model), folder)
            start = perf_counter()
            self.generator = ctranslate2.Generator(
                folder, compute_type=setting, inter_threads=1, intra_threads=n_threads
            )
            seconds = perf_counter() - start
        finally:
            shutil.rmtree(folder)
        self.tokens = protocol.Tokens(protocol.vocab_size(model))
        return seconds

    def prefill(self, n_tokens):
        return self.generate([self.tokens.draw(n_tokens)], 1)

    def decode(self, n_tokens, depth, n_sequences):
        prompts = [self.tokens.draw(max(depth, 1)) for _ in range(n_sequences)]
        return self.generate(prompts, n_tokens + 1) - self.generate(prompts, 1)

    def generate(self, prompts, n_tokens):
        prompts = [[str(token) for token in prompt] for prompt in prompts]
        start = perf_counter()
        answers = self.generator.generate_batch(
            prompts,
            max_length=n_tokens,
            min_length=n_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            # All in one batch.
            max_batch_size=0,
        )
        seconds = perf_counter() - start
        lengths = {len(answer.sequences_ids[0]) for answer in answers}
        if lengths != {n_tokens}:
            raise RuntimeError(f"{lengths} tokens came instead of {n_tokens}")
        return seconds


def write(gguf, folder):
    """Writes a model of random weights, quantized to int8."""
    architecture = gguf.fields["general.architecture"].contents()

    def extent(name):
        return gguf.fields[f"{architecture}.{name}"].contents()

    hidden, ffn = extent("embedding_length"), extent("feed_forward_length")
    n_heads, n_kv_heads = extent("attention.head_count"), extent("attention.head_count_kv")
    vocab_size = len(gguf.fields["tokenizer.ggml.tokens"].data)
    head_dim = hidden // n_heads
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        extent("block_count"),
        n_heads,
        activation=Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=extent("rope.freq_base"),
        num_heads_kv=n_kv_heads,
    )
    random = np.random.default_rng(1)

    def matrix(rows, cols):
        return random.standard_normal((rows, cols), dtype=np.float32) / np.float32(cols**0.5)

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = matrix(vocab_size, hidden)
    decoder.projection.weight = matrix(vocab_size, hidden)
    ones = np.ones(hidden, dtype=np.float32)
    decoder.layer_norm.gamma = ones
    for layer in decoder.layer:
        attention = layer.self_attention
        attention.layer_norm.gamma = ones
        attention.linear[0].weight = matrix((n_heads + 2 * n_kv_heads) * head_dim, hidden)
        attention.linear[1].weight = matrix(hidden, n_heads * head_dim)
        layer.ffn.layer_norm.gamma = ones
        layer.ffn.linear_0.weight = matrix(ffn, hidden)
        layer.ffn.linear_0_noact.weight = matrix(ffn, hidden)
        layer.ffn.linear_1.weight = matrix(hidden, ffn)
    spec.register_vocabulary([str(token) for token in range(vocab_size)])
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "1", "2", "0"
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(folder)


if __name__ == "__main__":
    protocol.serve(Engine())
