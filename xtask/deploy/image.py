"""The image of deploy/Dockerfile, where there is no Docker: rules for its text, and a run of what it would hold."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from running import Process, free_port, program

def stages(text):
    """The instructions of each stage, as pairs of a word and its arguments."""
    text = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    found = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if word:
            found[-1].append((word, rest.strip()))
    return found


def final(path):
    """The last stage: what `docker build` makes without a target."""
    return stages(path.read_text())[-1]


def values(stage, word):
    return [rest for found, rest in stage if found == word]


def arguments(stage, word):
    """The list of an instruction in its exec form."""
    text = values(stage, word)[-1]
    return re.findall(r'"([^"]*)"', text[text.index("[") :])


def environment(stage):
    return dict(pair.split("=", 1) for line in values(stage, "ENV") for pair in line.split())


def check_rules(path):
    """What hadolint does not ask for."""
    for stage in stages(path.read_text()):
        base = stage[0][1]
        is_final = bool(values(stage, "ENTRYPOINT"))
        assert_right(":" in base or base.startswith("scratch"), f"the base {base} has no version")
        assert_right(not values(stage, "ADD"), "ADD fetches and unpacks; COPY does not")
        if not is_final:
            continue
        assert_right(base.split(" ")[0] in ("scratch", "debian:bookworm-slim"), f"{base} is more than the program needs")
        [user] = values(stage, "USER")
        assert_right(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), f"USER {user}: Kubernetes checks runAsNonRoot by number")
        assert_right(values(stage, "EXPOSE") == ["8000 8501"], "both ports are exposed")
        assert_right(arguments(stage, "HEALTHCHECK")[0] == "/sm", "the program itself asks for health: there is no shell")
        assert_right(arguments(stage, "ENTRYPOINT") == ["/sm"], "the entry point is the program")


def assert_right(is_right, message):
    if not is_right:
        raise ValueError(message)


def unpack(stage, sm, folder):
    """The files of the last stage. A program that is not static gets its libraries, which a static one has in itself."""
    assert_right(values(stage, "COPY") == ["--from=build /image/ /"], "the image is what the build puts into /image")
    shutil.copy(sm, folder / "sm")
    (folder / "models").mkdir()
    os.chown(folder / "models", *map(int, values(stage, "USER")[0].split(":")))
    certificates = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        (folder / "etc/ssl/certs").mkdir(parents=True)
        shutil.copy(certificates, folder / "etc/ssl/certs")
    listed = subprocess.run(["ldd", sm], capture_output=True, text=True)
    for library in re.findall(r"(/\S+) \(0x", listed.stdout if listed.returncode == 0 else ""):
        target = folder / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    (folder / "proc").mkdir()


def check_run(path, sm):
    """Runs the entry point and the health check as the image's user, in its files only."""
    stage = final(path)
    user = values(stage, "USER")[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        unpack(stage, sm, folder)
        os.chmod(folder, 0o755)
        env = environment(stage) | {"PORT": str(free_port()), "UI_PORT": str(free_port()), "HOST": "127.0.0.1"}
        # `env -i`: nothing of this machine's environment.
        inside = ["env", "-i", *(f"{key}={value}" for key, value in env.items()), program("chroot"), f"--userspec={user}", folder]
        command = [*inside, *arguments(stage, "ENTRYPOINT"), *arguments(stage, "CMD")]
        with Process(command, int(env["PORT"])) as server:
            health = [*map(str, inside), *arguments(stage, "HEALTHCHECK")]
            deadline = time.monotonic() + 60
            while (asked := subprocess.run(health, capture_output=True, text=True)).returncode != 0:
                assert_right(time.monotonic() < deadline, f"not well after a minute: {asked.stderr}\n{server.said()}")
                time.sleep(0.2)
            story = {"prompt": "Once upon a time", "max_tokens": 4}
            status, answer, _ = server.request("POST", "/v1/completions", story)
            assert_right(status == 200, answer)
            browser = {"accept": "text/html", "accept-encoding": "gzip"}
            status, _, headers = server.request("GET", "/", headers=browser, port=int(env["UI_PORT"]))
            is_page = status == 200 and headers["content-type"].startswith("text/html")
            assert_right(is_page, f"no page at the second port: {status} {headers}")
            owner = f"/proc/{server.process.pid}/status"
            ids = re.search(r"Uid:\s+(\d+)", pathlib.Path(owner).read_text())[1]
            assert_right(ids == user.split(":")[0], f"runs as {ids}, not {user}")
        asked = subprocess.run(health, capture_output=True, text=True)
        assert_right(asked.returncode != 0, "the health check of a server that is gone succeeds")
