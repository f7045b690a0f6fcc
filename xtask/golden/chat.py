"""Renders of published chat templates by transformers: the expected texts of sm-model's chat tests.

    python xtask/golden/chat.py ROOT

writes `crates/sm-model/tests/data/chat.json` below ROOT: conversations, and what each template makes of them, and small
expressions with what they become. Templates are read from the shared test data and named by their path in it; they themselves stay
where they are.
"""

import datetime
import json
import os
import pathlib
import sys

from transformers.utils import chat_template_utils

NOW = 1_735_689_600  # 2025-01-01 00:00:00 UTC
SPECIAL = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather <now> & \"later\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "naïve café"},
                "days": {"type": "array", "items": {"type": "integer"}},
                "unit": {"type": "string", "enum": ["C", "F"]},
            },
            "required": ["city"],
        },
    },
}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": {"city": "Paris", "days": [1, 2]}}}
USER = {"role": "user", "content": "Hi, it's \"<b>\" & 日本 😁?\n"}
SYSTEM = {"role": "system", "content": " You are terse. "}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello!"}

CASES = {
    "user": {"messages": [USER]},
    "closed": {"messages": [USER, ANSWER], "add_generation_prompt": False},
    "turns": {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "Bye"}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": "!"}]}]},
    "tools": {"messages": [SYSTEM, USER], "tools": [WEATHER]},
    "call": {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": "{\"t\": 21.5}"},
        ],
        "tools": [WEATHER],
    },
    "quiet": {"messages": [USER], "variables": {"enable_thinking": False}},
}

# Where Jinja's semantics are Python's: None, what is undefined, and the escapes of strings.
EXPRESSIONS = [
    "{{ missing | length }}", "{{ missing | count }}", "{{ x.missing | length }}", "{{ none | length }}", "{{ 5 | length }}",
    "{{ [1] | length }}{{ {'a': 1} | length }}{{ 'é' | length }}", "{{ missing.foo | length }}",
    "{{ missing | list }}", "{{ missing | trim }}|", "{{ missing | upper }}|", "{{ missing | lower }}|", "{{ missing | join(',') }}|",
    "{{ missing | first }}|", "{{ missing | last }}|", "{{ missing | string }}|", "{{ missing | reverse | list }}",
    "{{ missing | sort }}", "{{ missing | unique | list }}", "{{ missing | items | list }}", "{{ missing | map('upper') | list }}",
    "{{ missing | selectattr('a') | list }}", "{{ missing | replace('a', 'b') }}|", "{{ missing | capitalize }}|",
    "{{ 'a' in missing }}", "{{ missing == none }}", "{{ missing[0] }}", "{{ missing + 'a' }}", "{{ missing | tojson }}",
    "{% for a in missing %}x{% endfor %}|", "{% for a in none %}x{% endfor %}|", "{% for a in x.null %}x{% endfor %}",
    "{% for a in x.null if a %}x{% endfor %}", "{% for a in messages[0].tool_calls %}x{% endfor %}|", "{% for a in 5 %}x{% endfor %}",
    "{% for a, b in {'k': 'v'}.items() %}{{ a }}{{ b }}{% endfor %}", "{%- for a in [1, 2, 3] if a != 2 -%} {{ a }} {%- endfor -%}",
    "{% for a in 'b if c', 'd' %}{{ a }};{% endfor %}", "{% for a in [3, [4, [5]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}",
    "{{ none | list }}", "{{ none | trim }}|", "{{ none | upper }}|", "{{ none ~ 'a' }}", "{{ none + 'a' }}", "{{ 'a' in none }}",
    "{{ none is iterable }}", "{{ missing is iterable }}", "{{ missing is string }}",
    "{{ 'a\\\nb' }}", "{{ 'a\\\n\nb' ~ \"c\\\nd\" }}", "{{ 'a\\x41\\u00e9\\n\\t\\d\\\\n\\'\\\"' }}", "{{ '\\101\\a\\v\\U0001F600' }}", "{{ \"a\\/b\" }}",
    "{% if x.a == 'b\\\nc' %}yes{% else %}no{% endif %}",
]
VARIABLES = {"x": {"a": "bc", "null": None}, "messages": [USER], "tools": None}


def strftime_now(format):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(format)


def sources(root):
    """(path, template, special texts) of every template below `root`."""
    for path in sorted(root.glob("chat_template_only/*")):
        config = json.loads((path / "tokenizer_config.json").read_text()) if (path / "tokenizer_config.json").exists() else {}
        special = {role: config[role] for role in SPECIAL if config.get(role)}
        special = {role: text if isinstance(text, str) else text["content"] for role, text in special.items()}
        if (path / "chat_template.jinja").exists():
            template = (path / "chat_template.jinja").read_text()
        elif (path / "chat_template.json").exists():
            template = json.loads((path / "chat_template.json").read_text())["chat_template"]
        else:
            template = config["chat_template"]
        yield path, template, special
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    for path in sorted(root.glob("mistral.rs-chat_templates/*")):
        text = path.read_text()
        yield path, json.loads(text)["chat_template"] if path.suffix == ".json" else text, special


def main(out):
    repository = pathlib.Path(__file__).resolve().parents[2]
    data = os.environ.get("SM_TEST_DATA") or repository / "../shared/data"
    root = pathlib.Path(data).resolve() / "tokenizers"
    renders = []
    for path, template, special in sources(root):
        compiled = chat_template_utils._compile_jinja_template(template)
        compiled.globals["strftime_now"] = strftime_now
        for name, case in CASES.items():
            variables = {"messages": case["messages"], "tools": case.get("tools"), "documents": None}
            variables["add_generation_prompt"] = case.get("add_generation_prompt", True)
            row = {"template": path.relative_to(root).as_posix(), "case": name}
            try:
                row["rendered"] = compiled.render(**special, **variables, **case.get("variables", {}))
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"
            renders.append(row)
    assert renders, f"no templates below {root}"
    expressions = []
    for template in EXPRESSIONS:
        row = {"template": template}
        try:
            row["rendered"] = chat_template_utils._compile_jinja_template(template).render(**VARIABLES)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
        expressions.append(row)
    document = {"now": NOW, "cases": CASES, "renders": renders, "variables": VARIABLES, "expressions": expressions}
    out = out / "crates/sm-model/tests/data/chat.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, ensure_ascii=False, indent=0) + "\n")


main(pathlib.Path(sys.argv[1]))
