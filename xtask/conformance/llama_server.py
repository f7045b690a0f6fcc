#!/usr/bin/env python3
"""`llama-server` by the name of `sm serve`: maps flags, and only flags.

`SM` is the binary, `SM_STORIES` the GGUF file of stories260K, which stands for the model that llama.cpp's tests fetch.
"""

import os
import sys

# What llama-server does unless it is told otherwise.
DEFAULTS = {"--reasoning": "auto", "--cors-origins": "*"}
# The template of a model that has none. llama-server puts the mark of the beginning before any prompt; here a template does.
CHATML = ("{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# Flags without an effect on what the tests see: other kernels, other bookkeeping.
DROPPED = {"--no-jinja", "--jinja", "--cont-batching", "--offline", "--kv-unified", "--swa-full", "--slots",
           "--embedding", "--context-shift", "--no-mmproj", "--no-cache-idle-slots", "--backend_sampling"}
DROPPED_WITH_VALUE = {"--hf-file", "--ubatch-size", "--n-gpu-layers", "-fa", "-ctk", "-ctv", "--cache-ram",
                      "--slot-save-path", "--pooling", "--hf-repo"}
MAPPED = {"--port": "--port", "--host": "--host", "--temp": "--temp", "--seed": "--seed", "--threads": "--threads",
          "--batch-size": "--max-step-tokens", "--parallel": "--parallel", "--api-key": "--api-key",
          "--chat-template": "--chat-template", "--chat-template-file": "--chat-template", "--reasoning": "--reasoning",
          "--reasoning-format": "--reasoning-format",
          "--cors-origins": "--cors-allow-origin", "--tags": "--tags", "--sleep-idle-seconds": "--sleep-idle-seconds"}
SWITCHES = {"--no-slots": ["--no-slots"], "--no-ui": ["--no-ui"], "--metrics": ["--metrics-compat", "llamacpp"], "--verbose": ["--verbose-answers"]}


def read(args: list[str]) -> dict[str, str]:
    given = dict(DEFAULTS)
    flags = iter(args)
    for flag in flags:
        given[flag] = "" if flag in DROPPED or flag in SWITCHES else next(flags)
    return given


def mapped(flag: str, value: str) -> list[str]:
    if flag in MAPPED:
        return [MAPPED[flag], value]
    if flag in SWITCHES:
        return SWITCHES[flag]
    if flag == "--n-predict":
        return ["--max-tokens", value] if int(value) > 0 else []
    if flag in DROPPED or flag in DROPPED_WITH_VALUE or flag in ("--alias", "--ctx-size"):
        return []
    sys.exit(f"no flag of sm serve is like {flag}")


def main(args: list[str]) -> None:
    given = read(args)
    # A model is called by the first of its aliases in alphabetical order.
    name, *aliases = sorted(given.get("--alias", "stories260K").split(","))
    command = [os.environ["SM"], "serve", "-m", f"{os.environ['SM_STORIES']}={name}", "--any-model", "--prefill-assistant",
               "--template-date"]
    for alias in aliases:
        command += ["--alias", alias]
    for flag, value in given.items():
        command += mapped(flag, value)
    if "--metrics" not in given:
        command.append("--no-metrics")
    if "--ctx-size" in given:
        # llama.cpp divides its context among the slots, unless they share it. The model supports 512.
        n_slots = 1 if "--kv-unified" in given else int(given.get("--parallel", 1))
        command += ["-c", str(min(int(given["--ctx-size"]) // n_slots, 512))]
    if "--chat-template" not in given and "--chat-template-file" not in given:
        command += ["--chat-template", CHATML]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
