"""The commands of docs/deployment.md and docs/scale-out.md, run as they are printed; `cargo xtask deploy-check --docs` runs it.

Blocks marked `sh` run, in order, in a folder with `deploy/` in it, with a server at the address that they name. A block that starts a
server is one, until it says where it listens. A block whose program is missing is named and left out.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from running import ROOT, Replica, program

DOCUMENTS = ["docs/deployment.md", "docs/scale-out.md"]

# Programs of blocks that may be missing.
OPTIONAL = ["kubectl", "haproxy", "nginx", "promtool", "systemd-analyze", "cargo"]

KEY = "a key"


def blocks(document):
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


def is_server(block):
    lines = block.strip().splitlines()
    return lines[-1].startswith("sm serve") and "|" not in lines[-1]


def run(block, folder, env, url):
    """Runs a block, and returns what it says."""
    script = block.replace("http://127.0.0.1:8000", url)
    functions = 'curl() { command curl -sS --fail-with-body "$@"; }\n'
    if is_server(block):
        script = script.rstrip() + " --host 127.0.0.1 --port 0 --metrics-port 0"
    shell = subprocess.Popen(
        ["bash", "-eo", "pipefail", "-c", functions + script], cwd=folder, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )
    if not is_server(block):
        said = shell.communicate(timeout=300)[0]
        return shell.returncode, said
    end = time.monotonic() + 60
    said = ""
    while time.monotonic() < end and "listening on" not in said:
        line = shell.stdout.readline()
        said += line
        if not line:
            return shell.wait() or 1, said
    # The shell ends by the signal too.
    os.killpg(shell.pid, 15)
    shell.wait(timeout=60)
    return 0 if "listening on" in said else 1, said


def main():
    n_passed, n_skipped, failed = 0, 0, []
    with tempfile.TemporaryDirectory() as name, Replica(options=["--api-key", KEY]) as server:
        folder = pathlib.Path(name)
        # Links, so that what a block writes stays out of the repository.
        (folder / "deploy").symlink_to(ROOT / "deploy")
        (folder / "bin").mkdir()
        (folder / "bin/sm").symlink_to(os.environ["SM"])
        path = f"{folder}/bin{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin"
        env = os.environ | {"PATH": path, "PORT": str(server.port), "KEY": KEY}
        server.wait_ready()
        for document in DOCUMENTS:
            for block in blocks(document):
                title = f"{document}: {block.strip().splitlines()[0]}"
                words = set(re.findall(r"^\s*([\w-]+)|&& ([\w-]+)", block, re.MULTILINE))
                missing = [tool for tool in OPTIONAL if any(tool in pair for pair in words) and not program(tool)]
                if missing:
                    n_skipped += 1
                    print(f"left out: {title}: {missing[0]} is not installed", flush=True)
                    continue
                code, said = run(block, folder, env, f"http://127.0.0.1:{server.port}")
                if code == 0:
                    n_passed += 1
                    print(f"ok: {title}", flush=True)
                else:
                    failed.append(title)
                    print(f"FAILED: {title}: ends with {code}:\n{block}\n{said}", flush=True)
    print(f"{n_passed} passed, {len(failed)} failed, {n_skipped} skipped")
    sys.exit(1 if failed or n_passed == 0 else 0)


if __name__ == "__main__":
    main()
