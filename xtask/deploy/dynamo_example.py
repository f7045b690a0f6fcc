"""The example for NVIDIA Dynamo in front of two replicas, of which one drains and one dies; `cargo xtask deploy-check --dynamo` runs it."""

import http.client
import importlib.util
import json
import subprocess
import sys
import tempfile
import time

from drive import ADMIN, OPTIONS, Fleet, Traffic, ask, chat, groups_stay_together, tokens_come_one_by_one, until_used
from running import ROOT, Process, Replica, free_port

EXAMPLE = ROOT / "examples/dynamo"
QUESTION = "What is 17 + 25?"


def replica():
    """A replica that publishes what its cache holds."""
    port = free_port()
    replica = Replica(options=[*OPTIONS, "--kv-events", f"tcp://*:{port}"])
    replica.events = f"tcp://127.0.0.1:{port}"
    return replica


class Workers:
    """A worker for each replica."""

    def __init__(self, fleet, env):
        self.env = env
        self.processes = [self.process(replica) for replica in fleet.replicas]

    def process(self, replica):
        command = [sys.executable, EXAMPLE / "worker.py", EXAMPLE / "demo", "--replica", f"http://127.0.0.1:{replica.port}"]
        return Process([*command, "--kv-events", replica.events], replica.port, self.env)

    def __enter__(self):
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.__exit__()

    def wait_for_the_end(self, index, seconds=60):
        """A worker ends by itself when its replica is no longer ready. Returns the seconds until then."""
        begun = time.monotonic()
        self.processes[index].process.wait(timeout=seconds)
        return time.monotonic() - begun


def frontend(env):
    port = free_port()
    command = [sys.executable, "-m", "dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", port]
    return Process([*command, "--router-mode", "kv", "--migration-limit", "3"], port, env)


def events(router, body):
    """What the data of a stream is, up to [DONE]."""
    status, stream, _ = ask(router, body | {"stream": True})
    assert status == 200, stream
    data = [line[6:] for line in stream.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]", data[-1]
    return [json.loads(event) for event in data[:-1]]


def registered(router):
    """The workers that the frontend knows. One that was killed is forgotten after some seconds."""
    return {instance["instance_id"] for instance in json.loads(router.get("/health")[1])["instances"]}


def wait_for_another(router, before):
    """Waits until a worker is replaced."""
    router.wait_until(lambda: len(now := registered(router)) == 2 and now != before, 60, "other worker")


def content(events):
    assert all("choices" in event for event in events), events[-1]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def answers_are_the_replicas(fleet, _workers, router):
    """The same texts, greedy and seeded, whole and streamed, as from a replica that is asked directly."""
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    settings = [
        {},
        {"stop": ["2, w"]},
        {"stop_token_ids": [22], "min_tokens": 3},
        {"guided_json": schema},
        {"guided_regex": "[ab]{9}"},
        {"guided_choice": ["yes", "no"]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}}},
        {"temperature": 1.5, "seed": 7, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "ignore_eos": True},
        {"temperature": 1.5, "seed": 8, "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    ]
    for fields in settings:
        body = chat(QUESTION, 80, **fields)
        texts = set()
        for place in [fleet.replicas[0], router]:
            status, answer, _ = ask(place, body)
            assert status == 200, (fields, answer)
            choice = json.loads(answer)["choices"][0]
            texts.add((choice["message"]["content"], choice["finish_reason"]))
        assert len(texts) == 1, (fields, texts)
        text = content(events(router, body))
        assert text == next(iter(texts))[0], (fields, text, texts)
    return f"{len(settings)} settings, whole and streamed"


def what_is_not_supported_is_an_error(_fleet, _workers, router):
    """An option that reaches no replica, and errors of the replica."""
    for fields, reason in [
        ({"logprobs": True}, "output_options.logprobs is not supported"),
        ({"n": 2, "temperature": 1}, "sampling_options.n is not supported"),
        ({"guided_regex": "("}, "unclosed group"),
    ]:
        status, answer, _ = ask(router, chat(QUESTION, **fields))
        assert status == 400 and reason in answer, (fields, status, answer)
    status, answer, _ = ask(router, chat("Hello " * 2000))
    assert status == 400 and "context is 1024" in answer, (status, answer)
    return "400, with the reason"


def groups_go_where_their_prefix_is(fleet, _workers, router):
    return groups_stay_together(fleet, router, False)


def tokens_are_streamed(fleet, _workers, router):
    # Dynamo refuses several choices without temperature.
    return tokens_come_one_by_one(fleet, router, n=1)


class Stream:
    """A long answer whose first tokens have come."""

    def __init__(self, fleet, router):
        self.connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=60)
        body = chat("Tell a long story.", 900, stream=True, ignore_eos=True)
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        self.answer = self.connection.getresponse()
        self.lines = [self.answer.readline() for _ in range(10)]
        self.busy = [index for index, replica in enumerate(fleet.replicas) if replica.metric("smallmind_sequences_running") > 0]
        assert len(self.busy) == 1, f"replicas at work: {self.busy}"

    def text(self):
        """The whole text."""
        self.lines += self.answer.readlines()
        data = [line[6:].strip() for line in self.lines if line.startswith(b"data: ")]
        assert data[-1] == b"[DONE]", data[-3:]
        return content([json.loads(event) for event in data[:-1]])


def cancelled(fleet):
    """Requests that replicas have given up."""
    lines = [line for replica in fleet.replicas for line in replica.get("/metrics")[1].splitlines()]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'requests_finished_total{finish_reason="cancelled"' in line)


def a_client_that_goes_away_ends_its_request(fleet, _workers, router):
    before = cancelled(fleet)
    stream = Stream(fleet, router)
    begun = time.monotonic()
    stream.answer.close()
    stream.connection.close()
    while cancelled(fleet) == before:
        assert time.monotonic() - begun < 10, "the replica goes on"
        time.sleep(0.01)
    return f"after {time.monotonic() - begun:.2f} s"


def a_stream_survives_its_worker(fleet, workers, router):
    """kill -9 of a worker in the middle of an answer, which another one ends."""
    expected = Stream(fleet, router).text()
    before = registered(router)
    stream = Stream(fleet, router)
    worker = workers.processes[stream.busy[0]]
    worker.kill()
    text = stream.text()
    assert text == expected, (text, expected)
    worker.start()
    wait_for_another(router, before)
    return f"the same {len(text)} characters"


def a_stream_survives_its_replica(fleet, workers, router):
    """kill -9 of a replica in the middle of an answer, which another one ends."""
    expected = Stream(fleet, router).text()
    before = registered(router)
    stream = Stream(fleet, router)
    index = stream.busy[0]
    fleet.replicas[index].kill()
    text = stream.text()
    assert text == expected, (text, expected)
    workers.wait_for_the_end(index)
    fleet.replicas[index].start()
    workers.processes[index].start()
    wait_for_another(router, before)
    return f"the same {len(text)} characters"


def a_drained_replica_gives_no_error(fleet, workers, router):
    """A replica drains under traffic: its worker ends."""
    before = registered(router)
    with Traffic(router) as traffic:
        until_used(fleet, 0, 30)
        assert fleet.replicas[0].request("POST", "/admin/drain", {}, ADMIN)[0] == 200
        seconds = workers.wait_for_the_end(0)
        assert fleet.replicas[0].request("POST", "/admin/resume", {}, ADMIN)[0] == 200
        workers.processes[0].start()
        wait_for_another(router, before)
        until_used(fleet, 0, 30)
    assert not traffic.lost(), traffic.lost()[:5]
    return f"{len(traffic.answers)} answers, none an error; its worker ended after {seconds:.1f} s"


def a_killed_replica_loses_nothing(fleet, workers, router):
    """kill -9 under traffic that is not streamed, and a restart of both."""
    before = registered(router)
    with Traffic(router) as traffic:
        until_used(fleet, 1, 30)
        fleet.replicas[1].kill()
        seconds = workers.wait_for_the_end(1)
        fleet.replicas[1].start()
        workers.processes[1].start()
        wait_for_another(router, before)
        until_used(fleet, 1, 30)
    assert not traffic.lost(), traffic.lost()[:5]
    return f"{len(traffic.answers)} answers, none lost; its worker ended after {seconds:.1f} s"


STEPS = [
    answers_are_the_replicas,
    what_is_not_supported_is_an_error,
    groups_go_where_their_prefix_is,
    tokens_are_streamed,
    a_client_that_goes_away_ends_its_request,
    a_stream_survives_its_worker,
    a_stream_survives_its_replica,
    a_drained_replica_gives_no_error,
    a_killed_replica_loses_nothing,
]


def main():
    if importlib.util.find_spec("dynamo") is None:
        print("left out: dynamo is not installed")
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(1)
    n_passed, n_failed = 0, 0
    with tempfile.TemporaryDirectory() as folder, Fleet([replica(), replica()]) as fleet:
        # Workers and frontend find each other through files here, and no server is needed.
        env = {"DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": folder}
        with Workers(fleet, env) as workers, frontend(env) as router:
            router.wait_until(lambda: len(registered(router)) == 2 and ask(router, chat("Hello"))[0] == 200, 120, "answer")
            for step in STEPS:
                title = step.__name__.replace("_", " ")
                begun = time.monotonic()
                try:
                    told = step(fleet, workers, router)
                except (AssertionError, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
                    n_failed += 1
                    print(f"FAILED: {title}: {type(error).__name__}: {error}", flush=True)
                    for process in [router, *workers.processes]:
                        print(process.said()[-3000:], flush=True)
                    break
                n_passed += 1
                print(f"ok: {title}: {told} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"{n_passed} passed, {n_failed} failed")
    sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
