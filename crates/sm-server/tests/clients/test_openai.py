"""openai-python: chats, texts, streams, tools, parsed answers, errors, and a client that goes away."""

import json
import os

import openai
from pydantic import BaseModel

demo = openai.OpenAI(base_url=os.environ["SM_URL"] + "/v1", api_key="none", max_retries=0)
scripted = openai.OpenAI(base_url=os.environ["SM_SCRIPTED_URL"] + "/v1", api_key="none", max_retries=0)
QUESTION = [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}]
WEATHER = [{"role": "user", "content": "What is the weather in Graz?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "enum": ["Graz", "Linz"]},
                    "days": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    }
]


class Person(BaseModel):
    name: str
    age: int


def chats():
    answer = demo.chat.completions.create(model="demo", messages=QUESTION, temperature=0, max_tokens=200)
    text = answer.choices[0].message.content
    assert "Answer: 3" in text, answer
    stream = demo.chat.completions.create(
        model="demo", messages=QUESTION, temperature=0, max_tokens=200, stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    scored = demo.chat.completions.create(
        model="demo", messages=QUESTION, max_tokens=2, logprobs=True, top_logprobs=3
    )
    assert len(scored.choices[0].logprobs.content[0].top_logprobs) == 3


def texts():
    answer = demo.completions.create(model="demo", prompt="Once upon a time", max_tokens=8, seed=1, n=2)
    assert len(answer.choices) == 2 and answer.usage.completion_tokens == 16, answer
    assert {model.id for model in demo.models.list()} == {"demo"}


def tools():
    """A loop: the call, its result, and the answer from it."""
    messages = list(WEATHER)
    first = scripted.chat.completions.create(model="scripted", messages=messages, tools=TOOLS)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls", first
    call = message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Graz", "days": 2})
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"}]
    last = scripted.chat.completions.create(model="scripted", messages=messages, tools=TOOLS)
    assert last.choices[0].message.content == "It will be 7 degrees in Graz.", last
    with scripted.chat.completions.stream(model="scripted", messages=WEATHER, tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds, kinds
    assert final.choices[0].message.tool_calls[0].function.name == "weather"
    forced = demo.chat.completions.create(
        model="demo", messages=WEATHER, tools=TOOLS, tool_choice="required", max_tokens=300
    )
    arguments = json.loads(forced.choices[0].message.tool_calls[0].function.arguments)
    assert set(arguments) == {"city", "days"}, forced


def parsed():
    answer = scripted.chat.completions.parse(
        model="scripted", messages=[{"role": "user", "content": "Jane is 30"}], response_format=Person
    )
    assert answer.choices[0].message.parsed == Person(name="Jane", age=30), answer

    class weather(BaseModel):
        city: str
        days: int

    called = scripted.chat.completions.parse(
        model="scripted", messages=WEATHER, tools=[openai.pydantic_function_tool(weather)]
    )
    assert called.choices[0].message.tool_calls[0].function.parsed_arguments == weather(city="Graz", days=2), called


def errors():
    for fields, kind, param in [
        ({"temperature": -1}, openai.BadRequestError, "temperature"),
        ({"model": "gpt-9"}, openai.NotFoundError, "model"),
    ]:
        try:
            demo.chat.completions.create(**{"model": "demo", "messages": QUESTION, **fields})
        except kind as error:
            assert error.param == param, error
        else:
            raise AssertionError(f"{fields} was accepted")


def leaving():
    for _ in range(12):
        stream = demo.completions.create(
            model="demo", prompt="Once", max_tokens=900, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        stream.close()
    assert len(demo.completions.create(model="demo", prompt="Once", n=8, max_tokens=2).choices) == 8


for test in [chats, texts, tools, parsed, errors, leaving]:
    test()
    print("ok", test.__name__, flush=True)
