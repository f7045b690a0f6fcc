"""Routers in front of three replicas, of which some drain, die and come back; `cargo xtask deploy-check --drive` runs it.

Each router is started with its configuration in deploy/, whose addresses are replaced by those of the replicas. A router that is not
installed is named and left out. Names as arguments select some.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

from running import ROOT, Process, Replica, free_port, program

DEPLOY = ROOT / "deploy"
ADMIN = {"authorization": "Bearer admin"}
OPTIONS = ["-t", "1", "--admin-key", "admin", "--grace", "2", "--max-queued", "64"]

# What the configurations of HAProxy and nginx say.
ADDRESSES = ["127.0.0.1:8010", "127.0.0.1:8011", "127.0.0.1:8012"]

# A prompt that fills some pages of 16 tokens. Groups differ from the first page on: a router that follows caches sends what shares a page to
# the replica that has it.
STORY = "{name} lived in a town on a hill, once upon a time, and had many dreams and asked many questions about all there is. "


class Fleet:
    """Three replicas, or those that are given."""

    def __init__(self, replicas=None):
        self.replicas = replicas or [Replica(options=OPTIONS) for _ in range(3)]

    def __enter__(self):
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            replica.wait_ready()
        return self

    def __exit__(self, *_):
        for replica in self.replicas:
            replica.__exit__()

    def urls(self):
        return [f"http://127.0.0.1:{replica.port}" for replica in self.replicas]

    def counts(self):
        """Answered completions of each replica, as far as it lives."""
        counts = []
        for replica in self.replicas:
            try:
                text = replica.get("/metrics")[1]
            except OSError:
                counts.append(None)
                continue
            name = 'smallmind_requests_finished_total{'
            counts.append(sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)))
        return counts


def configured(name, folder, router_port, fleet):
    """A configuration of deploy/ with the addresses of a drive."""
    text = (DEPLOY / name).read_text().replace("8080", str(router_port))
    for address, replica in zip(ADDRESSES, fleet.replicas, strict=True):
        assert address in text, f"{name} does not name {address}"
        text = text.replace(address, f"127.0.0.1:{replica.port}")
    path = pathlib.Path(folder) / name
    path.write_text(text)
    return path


def haproxy(fleet, folder):
    port = free_port()
    return Process([program("haproxy"), "-db", "-f", configured("haproxy.cfg", folder, port, fleet)], port)


def nginx(fleet, folder):
    port = free_port()
    os.mkdir(f"{folder}/logs")
    config = configured("nginx.conf", folder, port, fleet)
    return Process([program("nginx"), "-p", folder, "-e", "logs/error.log", "-c", config, "-g", "daemon off;"], port)


def scripted(name):
    """A router that a script of deploy/routers/ starts."""

    def start(fleet, _folder):
        port = free_port()
        env = {"PORT": str(port), "METRICS_PORT": str(free_port()), "WORKERS": " ".join(fleet.urls()), "PYTHON": sys.executable}
        return Process([DEPLOY / f"routers/{name}.sh"], port, env)

    return start


def chat(text, n_tokens=8, **fields):
    messages = [{"role": "user", "content": text}]
    return {"model": "demo", "messages": messages, "max_tokens": n_tokens, "temperature": 0, **fields}


def ask(router, body, session=None):
    headers = {"x-session-id": session} if session else {}
    return router.request("POST", "/v1/chat/completions", body, headers)


def served_by(fleet, before):
    """The replica that has answered since."""
    for _ in range(50):
        after = fleet.counts()
        changed = [index for index, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        if changed:
            return changed[0]
        time.sleep(0.02)
    raise AssertionError("no replica has answered")


def groups_stay_together(fleet, router, uses_sessions):
    """Requests with the same beginning, or of the same session, go to one replica; and not all groups to the same one."""
    groups = range(8)

    def turn(group, number):
        text = STORY.format(name=f"{'ABCDEFGH'[group]} number {group * 7919}") * 4 + f" Turn {number}."
        status, answer, _ = ask(router, chat(text), f"session {group}" if uses_sessions else None)
        assert status == 200, (status, answer)

    # All groups begin at the same time: while nobody is busy, some routers send every new prefix to the first replica.
    with concurrent.futures.ThreadPoolExecutor(len(groups)) as clients:
        list(clients.map(lambda group: turn(group, 0), groups))
    # Routers learn of what is cached a moment later.
    time.sleep(0.2)
    places = {}
    for number in range(1, 5):
        for group in groups:
            before = fleet.counts()
            turn(group, number)
            places.setdefault(group, []).append(served_by(fleet, before))
    scattered = {group: places for group, places in places.items() if len(set(places)) > 1}
    assert not scattered, f"groups on several replicas: {scattered}"
    used = {places[0] for places in places.values()}
    assert len(used) > 1, "all groups are on one replica"
    return f"{len(groups)} groups of 5 on {len(used)} replicas"


class Traffic:
    """Short requests, all different, from several clients, until it is stopped."""

    def __init__(self, router, n_clients=4):
        self.router = router
        self.answers = []
        self.is_over = False
        self.threads = [threading.Thread(target=self.client, args=(index,)) for index in range(n_clients)]

    def client(self, index):
        number = 0
        while not self.is_over:
            number += 1
            try:
                status, answer, _ = ask(self.router, chat(f"{index * 104729 + number} kings: what is {number} + {index}?", 4), f"{index} {number}")
            except (OSError, http.client.HTTPException) as error:
                status, answer = 0, repr(error)
            self.answers.append((status, answer))
            time.sleep(0.01)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def lost(self):
        return [(status, answer[:200]) for status, answer in self.answers if status != 200]


def until_used(fleet, index, seconds):
    """Seconds until a replica answers requests."""
    begun = time.monotonic()
    before = fleet.counts()[index] or 0
    while time.monotonic() - begun < seconds:
        now = fleet.counts()[index]
        if now is not None and now > before:
            return time.monotonic() - begun
        time.sleep(0.05)
    raise AssertionError(f"replica {index} got no request within {seconds} s")


def a_drained_replica_gives_no_error(fleet, router):
    """A replica drains under traffic, and is taken back afterwards."""
    replica = fleet.replicas[0]
    with Traffic(router) as traffic:
        until_used(fleet, 0, 20)
        assert replica.request("POST", "/admin/drain", {}, ADMIN)[0] == 200
        time.sleep(4)
        drained = fleet.counts()[0]
        time.sleep(1)
        assert fleet.counts()[0] == drained, "a drained replica answers"
        assert replica.request("POST", "/admin/resume", {}, ADMIN)[0] == 200
        seconds = until_used(fleet, 0, 30)
    assert not traffic.lost(), traffic.lost()[:5]
    return f"{len(traffic.answers)} answers, none an error; used again after {seconds:.1f} s"


def a_killed_replica_loses_nothing(fleet, router):
    """kill -9 under traffic that is not streamed, and a restart."""
    victim = fleet.replicas[1]
    with Traffic(router) as traffic:
        until_used(fleet, 1, 20)
        victim.kill()
        time.sleep(3)
        victim.start()
        victim.wait_ready()
        seconds = until_used(fleet, 1, 30)
    assert not traffic.lost(), traffic.lost()[:5]
    assert seconds < 10, f"used again only after {seconds:.1f} s"
    return f"{len(traffic.answers)} answers, none lost; used again {seconds:.1f} s after it was ready"


def long_stream(fleet, router, n=8):
    """A stream whose first event has come, and the replicas at work."""
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=60)
    # Eight at a time take long enough to find out where they are.
    body = chat("Tell a long story.", 900, stream=True, ignore_eos=True, n=n)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    first = answer.readline()
    assert first.startswith(b"data:"), first
    return answer, [replica for replica in fleet.replicas if replica.metric("smallmind_sequences_running") > 0]


def end_of_a_stream(fleet, router):
    """What a client gets of a stream whose replica is killed."""
    # On a busy machine, a stream may end before it is known where it is.
    for _ in range(5):
        answer, busy = long_stream(fleet, router)
        if len(busy) == 1:
            break
        answer.read()
    assert len(busy) == 1, "every stream ended before it could be cut"
    busy[0].kill()
    rest = b""
    try:
        while line := answer.readline():
            rest += line
    except http.client.IncompleteRead as error:
        rest += error.partial
    except OSError:
        pass
    busy[0].start()
    busy[0].wait_ready()
    return rest.decode(errors="replace")


def streams_end_with_an_error(fleet, router):
    rest = end_of_a_stream(fleet, router)
    events = [line[6:] for line in rest.splitlines() if line.startswith("data: ")]
    assert any('"error"' in event for event in events), rest[-500:]
    assert events[-1] == "[DONE]", events[-1]
    return "an error event, then [DONE]"


def streams_are_cut(fleet, router):
    rest = end_of_a_stream(fleet, router)
    assert "[DONE]" not in rest, rest[-500:]
    return "cut, and visibly so: no [DONE]"


def tokens_come_one_by_one(fleet, router, n=8):
    """Nothing on the way keeps a stream back: its first event is here while a replica is at work on it."""
    # On a busy machine, a stream may end before it is known where it is.
    for _ in range(5):
        answer, busy = long_stream(fleet, router, n)
        answer.read()
        if busy:
            return "the first event comes before the last is made"
    raise AssertionError("every stream had ended when its first event came")


# Routers, whether they keep sessions instead of prefixes together, and how streams of a killed replica end.
ROUTERS = [
    ("smg", scripted("smg"), False, streams_end_with_an_error),
    ("vllm-router", scripted("vllm-router"), False, streams_are_cut),
    ("haproxy", haproxy, True, streams_are_cut),
    ("nginx", nginx, True, streams_are_cut),
]


def is_installed(name):
    if name in ("haproxy", "nginx"):
        return program(name) is not None
    import importlib.util

    return importlib.util.find_spec(name.replace("-", "_")) is not None


def drive(name, start, uses_sessions, end_of_streams, report):
    steps = [lambda *args: groups_stay_together(*args, uses_sessions), tokens_come_one_by_one]
    titles = ["groups stay together", "tokens come one by one"]
    steps += [a_drained_replica_gives_no_error, end_of_streams, a_killed_replica_loses_nothing]
    titles += ["a drained replica gives no error", "streams of a killed replica", "a killed replica loses nothing"]
    with tempfile.TemporaryDirectory() as folder, Fleet() as fleet, start(fleet, folder) as router:
        router.wait_until(lambda: ask(router, chat("Hello"))[0] == 200, 60, "answer")
        for title, step in zip(titles, steps, strict=True):
            begun = time.monotonic()
            try:
                told = step(fleet, router)
            except (AssertionError, OSError, http.client.HTTPException) as error:
                report(False, f"{name}: {title}: {type(error).__name__}: {error}")
                print(router.said()[-3000:], flush=True)
                return
            report(True, f"{name}: {title}: {told} ({time.monotonic() - begun:.1f} s)")


def main():
    wanted = sys.argv[1:]
    outcomes = []
    n_skipped = 0

    def report(is_right, text):
        outcomes.append(is_right)
        print(f"{'ok' if is_right else 'FAILED'}: {text}", flush=True)

    for name, start, uses_sessions, end_of_streams in ROUTERS:
        if wanted and name not in wanted:
            continue
        if not is_installed(name):
            n_skipped += 1
            print(f"left out: {name} is not installed", flush=True)
            continue
        drive(name, start, uses_sessions, end_of_streams, report)
    n_failed = outcomes.count(False)
    print(f"{len(outcomes) - n_failed} passed, {n_failed} failed, {n_skipped} skipped")
    sys.exit(1 if n_failed or not outcomes else 0)


if __name__ == "__main__":
    main()
