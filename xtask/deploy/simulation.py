"""The simulation of three replicas beside a real run of three; `cargo xtask simulate --check` runs it.

All replicas share this machine, so the simulation is told how many cores a busy one takes, and how many the three got: a router and
whatever else runs take the rest. The requests per second of one replica and the times of its steps are measured first. Requests per
second and prefix hits of the three must be within 15 % of what is predicted from them.
"""

import http.client
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import drive
from running import ROOT, Replica

DATA = pathlib.Path(os.environ.get("SM_TEST_DATA", ROOT / "../shared/data"))
TRACE = DATA / "traces/mooncake/conversation_trace.jsonl"
TOLERANCE = 0.15
IN_FLIGHT = 8
REQUESTS = 300
BENCH = ["bench", "-t", "1", "-p", "16,64,256,512", "-n", "32", "-b", "1,2,4,8", "-d", "0,480", "-r", "2", "-o", "jsonl"]


def simulate(*options):
    # A position of the context is for the mark that begins every prompt.
    command = [os.environ["SIMULATE"], TRACE, "--requests", REQUESTS, "--in-flight", IN_FLIGHT, "--context", 1023, *options]
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(ran.stderr)
    return ran.stdout


def words(replica):
    """Texts that are one token each, alone and behind each other: the vocabulary of the prompts."""
    found = []
    for token in range(1024):
        word = json.loads(replica.request("POST", "/detokenize", {"tokens": [token]})[1]).get("content", "")
        if word.startswith(" ") and word[1:].isalpha() and word.isascii():
            found.append(word)
    _, text, _ = replica.request("POST", "/tokenize", {"content": "".join(found)})
    n_tokens = len(json.loads(text)["tokens"])
    if n_tokens != len(found):
        raise SystemExit(f"{len(found)} words are {n_tokens} tokens")
    return found


def requests(n_replicas, folder, vocabulary):
    path = folder / f"requests-{n_replicas}.jsonl"
    simulate("--replicas", n_replicas, "--vocabulary", len(vocabulary), "--emit", path)
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    return [body | {"prompt": "".join(vocabulary[token] for token in body["prompt"])} for body in bodies]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(bodies, ports):
    """Sends all, as many at a time as in the simulation, one port after another. Returns requests per second and cores in use."""
    todo = zip(bodies, itertools.cycle(ports))
    lock = threading.Lock()
    failed = []

    def client():
        connections = {}
        while True:
            with lock:
                body, port = next(todo, (None, None))
            if body is None:
                return
            connection = connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=300))
            sent = {"model": "demo", "prompt": body["prompt"], "max_tokens": body["max_tokens"], "ignore_eos": True, "temperature": 0}
            connection.request("POST", "/v1/completions", json.dumps(sent), {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                failed.append((answer.status, text[:300]))

    threads = [threading.Thread(target=client) for _ in range(IN_FLIGHT * max(1, len(bodies) // REQUESTS))]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"{len(failed)} requests failed: {failed[0]}")
    return len(bodies) / (time.monotonic() - begun)


def hit_rate(replicas):
    hits = sum(replica.metric("smallmind_prefix_hits_tokens_total") for replica in replicas)
    asked = sum(replica.metric("smallmind_prompt_tokens_total") for replica in replicas)
    return hits / asked


def replica():
    return Replica(options=["-t", "1", "--max-queued", "1000"])


def one(folder):
    """Requests per second of one replica, the cores that it and its clients take, the positions in its cache, and its words."""
    with replica() as single:
        single.wait_ready()
        vocabulary = words(single)
        bodies = requests(1, folder, vocabulary)
        cache_tokens = json.loads(single.get("/server_info")[1])["max_total_num_tokens"]
        before = cpu_seconds(single.process.pid) + time.process_time()
        begun = time.monotonic()
        rate = run(bodies, [single.port])
        cores = (cpu_seconds(single.process.pid) + time.process_time() - before) / (time.monotonic() - begun)
        print(f"one replica: {rate:.1f} requests/s on {cores:.2f} cores, {hit_rate([single]):.1%} of prompts cached", flush=True)
    return rate, cores, cache_tokens, vocabulary


class Plain(drive.Fleet):
    """Three replicas with the simulation's settings."""

    def __init__(self):
        self.replicas = [replica() for _ in range(3)]


def three(folder, router, vocabulary):
    """Requests per second and hit rate of three replicas, and the cores that they and their clients got."""
    bodies = requests(3, folder, vocabulary)
    with Plain() as fleet:
        processes = [replica.process.pid for replica in fleet.replicas]

        def measured(ports):
            before, begun = sum(map(cpu_seconds, processes)) + time.process_time(), time.monotonic()
            rate = run(bodies, ports)
            used = sum(map(cpu_seconds, processes)) + time.process_time() - before
            return rate, used / (time.monotonic() - begun)

        if router == "round-robin":
            rate, cores = measured([replica.port for replica in fleet.replicas])
        else:
            with drive.scripted("smg")(fleet, folder) as smg:
                smg.wait_until(lambda: drive.ask(smg, drive.chat("Hello"))[0] == 200, 60, "answer")
                rate, cores = measured([smg.port])
        return {"requests_per_second": rate, "hit_rate": hit_rate(fleet.replicas)}, cores


def main():
    if not TRACE.exists():
        raise SystemExit(f"left out: {TRACE} is missing; set SM_TEST_DATA")
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        figures = folder / "figures.jsonl"
        figures.write_text(subprocess.run([os.environ["SM"], *BENCH], capture_output=True, text=True, check=True).stdout)
        rate, cores, cache_tokens, vocabulary = one(folder)
        for router in ["round-robin"] + (["prefix"] if drive.is_installed("smg") else []):
            options = ["--replicas", 3, "--router", router, "--figures", figures, "--measured", rate, "--cache-tokens", cache_tokens]
            measured, n_cores = three(folder, router, vocabulary)
            print(f"{router}: three replicas got {n_cores:.2f} cores", flush=True)
            options += ["--shared-cores", n_cores, "--cores-per-replica", cores]
            options += ["--vocabulary", len(vocabulary), "--json"]
            predicted = json.loads(simulate(*options))
            for figure, value in measured.items():
                ratio = predicted[figure] / value
                print(f"{router}: {figure}: {value:.3f} measured, {predicted[figure]:.3f} simulated, ratio {ratio:.3f}", flush=True)
                if abs(ratio - 1) > TOLERANCE:
                    wrong.append(f"{router} {figure}")
    n_right = (4 if drive.is_installed("smg") else 2) - len(wrong)
    print(f"{n_right} passed, {len(wrong)} failed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
