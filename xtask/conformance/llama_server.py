#!/usr/bin/env python3
"""`llama-server` by the name of `sm serve`: maps flags, and only flags.

`SM` is the binary, `SM_STORIES` the GGUF file of stories260K, which stands for the model that llama.cpp's tests fetch.
"""

import os
import sys

# Flags without an effect on what the tests see: other kernels, other bookkeeping.
DROPPED = {"--no-jinja", "--jinja", "--cont-batching", "--offline", "--kv-unified", "--swa-full", "--slots", "--metrics",
           "--embedding", "--verbose", "--no-ui", "--context-shift", "--no-mmproj", "--no-cache-idle-slots", "--backend_sampling"}
DROPPED_WITH_VALUE = {"--hf-file", "--ubatch-size", "--n-gpu-layers", "-fa", "-ctk", "-ctv", "--tags", "--cache-ram", "--slot-save-path",
                      "--pooling", "--hf-repo", "--reasoning-format", "--reasoning", "--sleep-idle-seconds"}
MAPPED = {"--port": "--port", "--host": "--host", "--temp": "--temp", "--seed": "--seed", "--threads": "--threads",
          "--batch-size": "--max-step-tokens", "--parallel": "--parallel", "--api-key": "--api-key",
          "--chat-template": "--chat-template", "--cors-origins": "--cors-allow-origin"}


def main(args: list[str]) -> None:
    command = [os.environ["SM"], "serve", "-m", os.environ["SM_STORIES"] + "=stories260K", "--any-model"]
    given: dict[str, str] = {}
    flags = iter(args)
    for flag in flags:
        if flag in DROPPED or flag == "--no-slots":
            given[flag] = ""
        else:
            given[flag] = next(flags)
    for flag, value in given.items():
        if flag in MAPPED:
            command += [MAPPED[flag], value]
        elif flag == "--alias":
            command += [part for name in value.split(",") for part in ("--alias", name)]
        elif flag == "--n-predict" and int(value) > 0:
            command += ["--max-tokens", value]
        elif flag == "--chat-template-file":
            command += ["--chat-template", value]
        elif flag == "--no-slots":
            command += ["--no-slots"]
        elif flag not in DROPPED and flag not in DROPPED_WITH_VALUE and flag not in ("--ctx-size", "--n-predict"):
            sys.exit(f"no flag of sm serve is like {flag}")
    if "--ctx-size" in given:
        # llama.cpp divides its context among the slots, unless they share it. The model supports 512.
        n_slots = 1 if "--kv-unified" in given else int(given.get("--parallel", 1))
        command += ["-c", str(min(int(given["--ctx-size"]) // n_slots, 512))]
    if "--chat-template" not in given and "--chat-template-file" not in given:
        # That of a model that has none.
        command += ["--chat-template", "chatml"]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
