"""The examples for Ray, run on this machine; `cargo xtask deploy-check --ray` runs it."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from running import ROOT, Process, free_port

EXAMPLES = ROOT / "examples/ray"
ENVIRONMENT = {
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A busy machine takes longer than Ray's five seconds to start its proxy.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
OPTIONS = ["-m", "demo", "-n", "8", "-t", "1"]


def batch(source, output):
    command = [sys.executable, EXAMPLES / "batch.py", source, output, "--seed", "1", "--block", "8", "--", *OPTIONS]
    subprocess.run(command, check=True, env=os.environ | ENVIRONMENT, timeout=300)


def check_batch(folder):
    """The same answers as without Ray, in order, with the errors of rows; and again after a cut."""
    source, output, alone = (folder / name for name in ["questions.jsonl", "answers.jsonl", "alone.jsonl"])
    lines = [json.dumps({"prompt": f"Once upon a time there were {n} kings"}) for n in range(40)]
    lines[5], lines[17] = "no JSON", json.dumps({"prompt": "a", "temperature": -1})
    source.write_text("\n".join(lines) + "\n")
    batch(source, output)
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(answers) == 40, len(answers)
    wrong = [row for row, answer in enumerate(answers) if "error" in answer]
    assert wrong == [5, 17], wrong
    subprocess.run([os.environ["SM"], "batch", source, alone, "--seed", "1", *OPTIONS], check=True, timeout=300)
    expected = [json.loads(line) for line in alone.read_text().splitlines()]
    for row, (answer, right) in enumerate(zip(answers, expected, strict=True)):
        if row not in wrong:
            assert (answer["text"], answer["id"], answer["seed"]) == (right["text"], row + 1, row + 1), (answer, right)
    print("ok: 40 rows in order, two of them with errors, the same texts as sm batch alone", flush=True)

    whole = output.read_bytes()
    cut = whole[: whole.index(b"\n", len(whole) // 2) + 30]
    output.write_bytes(cut)
    batch(source, output)
    assert [json.loads(line).get("text") for line in output.read_text().splitlines()] == [a.get("text") for a in answers]
    print("ok: a run that was cut in the middle of an answer goes on after the last whole one", flush=True)


def check_serve():
    """Answers and streams pass through two replicas."""
    port = free_port()
    start = f"from ray import serve; import serve_app; serve.start(http_options={{'host': '127.0.0.1', 'port': {port}}}); serve.run(serve_app.app, blocking=True)"
    env = ENVIRONMENT | {"SM_OPTIONS": "-t 1", "CPUS": "0.5"}
    with Process([sys.executable, "-c", start], port, env, cwd=EXAMPLES) as app:
        app.wait_until(lambda: app.get("/ready")[0] == 200, 300, "ready replica")
        question = {"model": "demo", "messages": [{"role": "user", "content": "What is 1 + 1?"}], "temperature": 0}
        status, answer, _ = app.request("POST", "/v1/chat/completions", question)
        assert status == 200 and "Answer: 2" in answer, answer
        status, stream, headers = app.request("POST", "/v1/chat/completions", question | {"stream": True})
        assert status == 200 and stream.rstrip().endswith("data: [DONE]"), stream
        assert headers["content-type"].startswith("text/event-stream"), headers
        status, answer, _ = app.request("POST", "/v1/chat/completions", {"messages": 1})
        assert status == 400 and "error" in answer, answer
    print("ok: Ray Serve passes on answers, streams and errors", flush=True)


def main():
    wanted = sys.argv[1:] or ["batch", "serve"]
    if "batch" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            check_batch(pathlib.Path(folder))
    if "serve" in wanted:
        check_serve()
    print(f"{len(wanted)} passed, 0 failed")


if __name__ == "__main__":
    main()
