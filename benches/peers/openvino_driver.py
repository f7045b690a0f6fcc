"""Drives OpenVINO GenAI, which reads GGUF files itself.

Settings: `default`; `f32`, computation in single precision where the default is bfloat16 on processors that have it.
Its times are those that it takes itself: to the first token, and between tokens.
"""

from time import perf_counter

import numpy as np
import openvino
import openvino_genai

import protocol


class Engine:
    def load(self, model, n_threads, context_len, n_sequences, setting):
        del context_len, n_sequences  # its cache grows
        properties = {"INFERENCE_NUM_THREADS": n_threads}
        if setting == "f32":
            properties["INFERENCE_PRECISION_HINT"] = "f32"
        start = perf_counter()
        self.pipeline = openvino_genai.LLMPipeline(model, "CPU", **properties)
        seconds = perf_counter() - start
        self.tokens = protocol.Tokens(protocol.vocab_size(model))
        return seconds

    def prefill(self, n_tokens):
        return self.generate(n_tokens, 1).get_ttft().mean / 1e3

    def decode(self, n_tokens, depth, n_sequences):
        if n_sequences > 1:
            raise ValueError("several sequences at once are not measured here")
        # The first token comes with the prompt.
        times = self.generate(max(depth, 1), n_tokens + 1).raw_metrics.m_new_token_times
        return (times[-1] - times[0]) / 1e3

    def generate(self, n_prompt, n_tokens):
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = n_tokens
        config.ignore_eos = True
        config.do_sample = False
        prompt = np.array([self.tokens.draw(n_prompt)], dtype=np.int64)
        answer = self.pipeline.generate(openvino.Tensor(prompt), config)
        n_found = len(answer.tokens[0])
        if n_found != n_tokens:
            raise RuntimeError(f"{n_found} tokens came instead of {n_tokens}")
        return answer.perf_metrics


if __name__ == "__main__":
    protocol.serve(Engine())
