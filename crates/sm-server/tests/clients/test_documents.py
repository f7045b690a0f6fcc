"""The examples in Python of docs/server.md, run as they are printed."""

import os
import pathlib
import re
import subprocess
import sys

DOCUMENT = pathlib.Path(__file__).parents[4] / "docs/server.md"

examples = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
assert len(examples) >= 6, examples
for example in examples:
    title = example.strip().splitlines()[0]
    code = example.replace("http://127.0.0.1:8000", os.environ["SM_URL"])
    assert code != example, f"no address in:\n{example}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, f"{example}\n{ran.stdout}\n{ran.stderr}"
    print("ok", title, "…", flush=True)
