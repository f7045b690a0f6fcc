"""Open Responses: answers and every event of streams fit the specification's schemas, as `openresponses-types` has them.

The cases are of the kinds of the specification's own compliance suite, which no registry offers. Its case with an image is left
out: the models read text.
"""

import json
import os

import openresponses_types.types as spec
import requests

SKY = [{"type": "message", "role": "user", "content": "Solve for x: 2x + 3 = 9"}]
WEATHER = [{"type": "message", "role": "user", "content": "What is the weather in Graz?"}]
TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "description": "A forecast.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    }
]


def post(variable: str, body: dict) -> requests.Response:
    answer = requests.post(os.environ[variable] + "/v1/responses", json=body, stream=body.get("stream", False), timeout=100)
    assert answer.ok, answer.text
    return answer


def response(variable: str, **body) -> spec.ResponseResource:
    whole = spec.ResponseResource.model_validate(post(variable, body).json())
    assert whole.output and whole.status == "completed", whole
    return whole


def schema(name: str):
    """The schema of an event: that of `response.output_text.delta` is ResponseOutputTextDeltaStreamingEvent."""
    words = name.replace(".", "_").split("_")
    return getattr(spec, "".join(word.capitalize() for word in words) + "StreamingEvent")


def specified(event: dict) -> dict:
    """An event under the specification's name. OpenAI, whose SDKs drop other names, calls one kind differently."""
    return {**event, "type": event["type"].replace(".reasoning_text.", ".reasoning.")}


def events(variable: str, **body) -> list[dict]:
    found, number = [], -1
    for line in post(variable, {**body, "stream": True}).iter_lines(decode_unicode=True):
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        event = specified(event)
        schema(event["type"]).model_validate(event)
        assert event["sequence_number"] == number + 1, event
        number += 1
        found.append(event)
    assert found[0]["type"] == "response.created" and found[-1]["type"] == "response.completed", found
    spec.ResponseResource.model_validate(found[-1]["response"])
    return found


def texts():
    answer = response("SM_URL", model="demo", input=SKY, temperature=0)
    streamed = events("SM_URL", model="demo", input=SKY, temperature=0)
    text = "".join(event["delta"] for event in streamed if event["type"] == "response.output_text.delta")
    assert text == answer.output[0].content[0].text, (text, answer)


def system_prompts():
    pirate = {"type": "message", "role": "system", "content": "You are a pirate."}
    response("SM_URL", model="demo", input=[pirate, *SKY])


def turns():
    said = {"type": "message", "role": "assistant", "content": "Hello Alice!"}
    alice = {"type": "message", "role": "user", "content": "My name is Alice."}
    response("SM_URL", model="demo", input=[alice, said, *SKY])


def tools():
    answer = response("SM_SCRIPTED_URL", model="scripted", input=WEATHER, tools=TOOLS)
    assert any(item.type == "function_call" for item in answer.output), answer
    streamed = events("SM_SCRIPTED_URL", model="scripted", input=WEATHER, tools=TOOLS)
    kinds = [(event["type"], event.get("item", {}).get("type")) for event in streamed]
    for kind in [
        ("response.output_item.added", "function_call"),
        ("response.function_call_arguments.delta", None),
        ("response.function_call_arguments.done", None),
        ("response.output_item.done", "function_call"),
    ]:
        assert kind in kinds, kinds


for test in [texts, system_prompts, turns, tools]:
    test()
    print("ok", test.__name__, flush=True)
