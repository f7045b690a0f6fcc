"""huggingface_hub's InferenceClient: chats, streams, a tool with its result, structured output, models, errors."""

import json
import os

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

demo = InferenceClient(base_url=os.environ["SM_URL"] + "/v1", api_key="none")
scripted = InferenceClient(base_url=os.environ["SM_SCRIPTED_URL"] + "/v1", api_key="none")
QUESTION = [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}]
WEATHER = [{"role": "user", "content": "What is the weather in Graz?"}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "A forecast.", "parameters": PARAMETERS}}]


def chats():
    answer = demo.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=200)
    text = answer.choices[0].message.content
    assert "Answer: 3" in text, answer
    chunks = demo.chat_completion(model="demo", messages=QUESTION, temperature=0, max_tokens=200, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text


def tools():
    """A loop: the call, its result, and the answer from it."""
    messages = list(WEATHER)
    first = scripted.chat_completion(model="scripted", messages=messages, tools=TOOLS, tool_choice="auto")
    call = first.choices[0].message.tool_calls[0]
    arguments = call.function.arguments
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert (call.function.name, arguments) == ("weather", {"city": "Graz", "days": 2}), first
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"}]
    last = scripted.chat_completion(model="scripted", messages=messages, tools=TOOLS)
    assert last.choices[0].message.content == "It will be 7 degrees in Graz.", last
    chunks = scripted.chat_completion(model="scripted", messages=WEATHER, tools=TOOLS, stream=True)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].function.name == "weather", calls
    assert json.loads("".join(call.function.arguments for call in calls)) == {"city": "Graz", "days": 2}, calls


def structured():
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = scripted.chat_completion(
        model="scripted",
        messages=[{"role": "user", "content": "Jane is 30"}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
    )
    assert json.loads(answer.choices[0].message.content) == {"name": "Jane", "age": 30}, answer


def errors():
    for fields, status in [({"temperature": -1}, 400), ({"model": "gpt-9"}, 404)]:
        try:
            demo.chat_completion(**{"model": "demo", "messages": QUESTION, **fields})
        except HfHubHTTPError as error:
            assert error.response.status_code == status, error
        else:
            raise AssertionError(f"{fields} was accepted")


for test in [chats, tools, structured, errors]:
    test()
    print("ok", test.__name__, flush=True)
