"""ollama-python: chats, prompts, streams, tools, formats, models, errors."""

import json
import os

import ollama
from pydantic import BaseModel

demo = ollama.Client(host=os.environ["SM_URL"])
scripted = ollama.Client(host=os.environ["SM_SCRIPTED_URL"])
QUESTION = [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}]
WEATHER = [{"role": "user", "content": "What is the weather in Graz?"}]
GREEDY = {"temperature": 0}


def weather(city: str, days: int) -> str:
    """The weather.

    Args:
        city: The city.
        days: How many days.
    """
    return "7 degrees"


class X(BaseModel):
    x: int


def chats():
    answer = demo.chat(model="demo", messages=QUESTION, options=GREEDY)
    assert "Answer: 3" in answer.message.content and answer.done_reason == "stop", answer
    parts = list(demo.chat(model="demo:latest", messages=QUESTION, options=GREEDY, stream=True))
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert parts[-1].done and parts[-1].eval_count == answer.eval_count and parts[-1].total_duration > 0
    # Without further properties: so small a model would write them until its context is full.
    shape = {**X.model_json_schema(), "additionalProperties": False}
    shaped = demo.chat(model="demo", messages=QUESTION, format=shape, options=GREEDY)
    X.model_validate_json(shaped.message.content)


def prompts():
    first = demo.generate(model="demo", prompt=QUESTION[0]["content"], options=GREEDY)
    assert "Answer: 3" in first.response and len(first.context) > 10, first
    second = demo.generate(model="demo", prompt="What is 17 + 25?", context=first.context, options=GREEDY)
    assert second.prompt_eval_count > first.prompt_eval_count
    raw = demo.generate(model="demo", prompt="Once upon a time", raw=True, options={"num_predict": 5})
    assert raw.eval_count == 5 and raw.done_reason == "length" and raw.context is None, raw
    json.loads(demo.generate(model="demo", prompt="JSON, please", format="json", options=GREEDY).response)


def tools():
    """A loop: the call, its result, and the answer from it."""
    messages = list(WEATHER)
    first = scripted.chat(model="scripted", messages=messages, tools=[weather])
    call = first.message.tool_calls[0].function
    assert (call.name, call.arguments) == ("weather", {"city": "Graz", "days": 2}), first
    assert first.message.thinking == "The user wants a forecast.", first
    messages += [first.message, {"role": "tool", "content": weather(**call.arguments), "tool_name": call.name}]
    last = scripted.chat(model="scripted", messages=messages, tools=[weather])
    assert last.message.content == "It will be 7 degrees in Graz.", last
    parts = list(scripted.chat(model="scripted", messages=WEATHER, tools=[weather], stream=True))
    called = [call for part in parts for call in part.message.tool_calls or []]
    assert [call.function.arguments for call in called] == [{"city": "Graz", "days": 2}], parts


def models():
    assert "demo:latest" in [model.model for model in demo.list().models]
    shown = demo.show("demo")
    assert shown.modelinfo["general.architecture"] == "qwen3" and "completion" in shown.capabilities, shown
    assert demo.ps().models[0].context_length == 1024
    assert demo.pull("demo").status == "success"
    assert [part.status for part in demo.pull("demo", stream=True)][-1] == "success"


def errors():
    for call, status in [
        (lambda: demo.chat(model="llama3", messages=QUESTION), 404),
        (lambda: demo.chat(model="demo", messages=QUESTION, options={"nonsense": 1}), 400),
        (lambda: list(demo.generate(model="demo", prompt="Hi", suffix="end", stream=True)), 400),
        (lambda: demo.delete("demo"), 501),
    ]:
        try:
            call()
        except ollama.ResponseError as error:
            assert error.status_code == status and error.error, error
        else:
            raise AssertionError(f"no error {status}")


for test in [chats, prompts, tools, models, errors]:
    test()
    print("ok", test.__name__, flush=True)
