"""Drives llama.cpp through the C interface that llama-cpp-python carries, as llama-bench and llama-batched-bench do.

Settings: `default`; `no-repack`, weights as they lie in the file (`--repack 0`); `no-flash`, plain attention (`-fa off`).
"""

from time import perf_counter

import llama_cpp as llama

import protocol

FLASH_OFF = 0
N_BATCH = 2048


@llama.llama_log_callback
def quiet(_level, _text, _data):
    """Discards the log of llama.cpp."""


class Engine:
    def load(self, model, n_threads, context_len, n_sequences, setting):
        llama.llama_log_set(quiet, None)
        llama.llama_backend_init()
        start = perf_counter()
        params = llama.llama_model_default_params()
        params.use_extra_bufts = setting != "no-repack"
        self.model = llama.llama_model_load_from_file(model.encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {model}")
        params = llama.llama_context_default_params()
        params.n_ctx = context_len * n_sequences
        params.n_seq_max = n_sequences
        params.n_batch = N_BATCH
        params.n_threads = params.n_threads_batch = n_threads
        if setting == "no-flash":
            params.flash_attn_type = FLASH_OFF
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp has no context of {params.n_ctx} positions")
        seconds = perf_counter() - start
        self.memory = llama.llama_get_memory(self.context)
        self.tokens = protocol.Tokens(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model)))
        self.batch = llama.llama_batch_init(N_BATCH, 0, 1)
        self.filled = [0] * n_sequences
        return seconds

    def prefill(self, n_tokens):
        if n_tokens > N_BATCH:
            raise ValueError(f"a prompt of {n_tokens} tokens does not fit into one batch of {N_BATCH}")
        self.keep(0, 0)
        self.stage(0, self.tokens.draw(n_tokens))
        start = perf_counter()
        self.run()
        return perf_counter() - start

    def decode(self, n_tokens, depth, n_sequences):
        for sequence in range(n_sequences):
            self.keep(sequence, depth)
            while self.filled[sequence] < depth:
                n_missing = depth - self.filled[sequence]
                self.stage(sequence, self.tokens.draw(min(n_missing, N_BATCH)))
                self.run()
        steps = [self.tokens.draw(n_sequences) for _ in range(n_tokens)]
        start = perf_counter()
        for tokens in steps:
            self.batch.n_tokens = 0
            for sequence, token in enumerate(tokens):
                self.add(sequence, token, True)
            self.run()
        return perf_counter() - start

    def keep(self, sequence, depth):
        """Removes everything after `depth`."""
        self.filled[sequence] = min(self.filled[sequence], depth)
        llama.llama_memory_seq_rm(self.memory, sequence, self.filled[sequence], -1)

    def stage(self, sequence, tokens):
        """Fills the batch; the logits of the last token are computed."""
        self.batch.n_tokens = 0
        for index, token in enumerate(tokens, 1):
            self.add(sequence, token, index == len(tokens))

    def add(self, sequence, token, is_output):
        batch, row = self.batch, self.batch.n_tokens
        batch.token[row] = token
        batch.pos[row] = self.filled[sequence]
        batch.n_seq_id[row] = 1
        batch.seq_id[row][0] = sequence
        batch.logits[row] = is_output
        batch.n_tokens += 1
        self.filled[sequence] += 1

    def run(self):
        status = llama.llama_decode(self.context, self.batch)
        if status != 0:
            raise RuntimeError(f"llama_decode gave {status} for {self.batch.n_tokens} tokens")
        # Reading the results waits for them.
        llama.llama_get_logits_ith(self.context, -1)


if __name__ == "__main__":
    protocol.serve(Engine())
