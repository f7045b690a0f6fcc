"""Servers and routers as processes, for the checks and drives of deploy/."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
BESIDE = pathlib.Path(sys.executable).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A program that is ended with its block; what it says is kept in a file."""

    def __init__(self, command, port, env=None, cwd=None):
        self.port = port
        self.command = [str(part) for part in command]
        self.env = os.environ | (env or {})
        self.cwd = cwd
        self.log = tempfile.NamedTemporaryFile("w+", prefix="deploy-", suffix=".log")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdout=self.log, stderr=subprocess.STDOUT, env=self.env, cwd=self.cwd, start_new_session=True
        )
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            # Routers start processes of their own.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def kill(self):
        """As a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def said(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def request(self, method, path, body=None, headers=None, port=None, timeout=60):
        """The status and the text of an answer, and its headers by their names in lower case."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"content-type": "application/json"} | (headers or {}))
            answer = connection.getresponse()
            read = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, answer.read().decode(errors="replace"), read
        finally:
            connection.close()

    def get(self, path, port=None):
        return self.request("GET", path, port=port)[:2]

    def wait_until(self, is_there, seconds=60, what="an answer"):
        """Asks until it is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise OSError(f"{self.command[0]} has ended:\n{self.said()}")
            try:
                if is_there():
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        raise OSError(f"{self.command[0]} gives no {what} within {seconds} s:\n{self.said()[-4000:]}")


class Replica(Process):
    """`sm serve` on a port of its own."""

    def __init__(self, port=None, options=(), env=None):
        port = port or free_port()
        super().__init__([os.environ["SM"], "serve", "--port", port, *options], port, env)

    def wait_ready(self, seconds=60):
        self.wait_until(lambda: self.get("/ready")[0] == 200, seconds, "ready model")
        return self

    def metric(self, name):
        """The sum of a metric over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(float(value) for value in values)


def program(name):
    """The path of a program, from this environment or the system; None if it is missing."""
    return shutil.which(name, path=f"{BESIDE}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin")
