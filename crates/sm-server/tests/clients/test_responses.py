"""openai-python's responses: answers, streams, what was stored, tools, parsed answers, errors."""

import json
import os

import openai
from pydantic import BaseModel

demo = openai.OpenAI(base_url=os.environ["SM_URL"] + "/v1", api_key="none", max_retries=0)
scripted = openai.OpenAI(base_url=os.environ["SM_SCRIPTED_URL"] + "/v1", api_key="none", max_retries=0)
QUESTION = "Solve for x: 2x + 3 = 9"
WEATHER = [{"role": "user", "content": "What is the weather in Graz?"}]
TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    }
]


class Person(BaseModel):
    name: str
    age: int


def responses():
    answer = demo.responses.create(model="demo", input=QUESTION, temperature=0)
    assert "Answer: 3" in answer.output_text and answer.status == "completed", answer
    with demo.responses.stream(model="demo", input=QUESTION, temperature=0) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == answer.output_text == final.output_text
    assert final.usage.output_tokens == answer.usage.output_tokens
    cut = demo.responses.create(model="demo", input=QUESTION, max_output_tokens=3)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens"), cut


def stored():
    first = demo.responses.create(model="demo", input=QUESTION, temperature=0)
    second = demo.responses.create(
        model="demo", input="What is 17 + 25?", previous_response_id=first.id, temperature=0
    )
    assert second.usage.input_tokens > first.usage.input_tokens
    assert demo.responses.retrieve(first.id).output_text == first.output_text
    assert len(demo.responses.input_items.list(first.id).data) == 1
    demo.responses.delete(first.id)
    try:
        demo.responses.retrieve(first.id)
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("deleted, and still there")


def tools():
    """The loop of openai-agents: the call, its result, and the answer from it."""
    items = list(WEATHER)
    first = scripted.responses.create(model="scripted", input=items, tools=TOOLS, store=False)
    kinds = [item.type for item in first.output]
    assert kinds == ["reasoning", "message", "function_call"], kinds
    call = first.output[-1]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Graz", "days": 2}), first
    items += first.output + [{"type": "function_call_output", "call_id": call.call_id, "output": "7 degrees"}]
    last = scripted.responses.create(model="scripted", input=items, tools=TOOLS, store=False)
    assert last.output_text == "It will be 7 degrees in Graz.", last
    with scripted.responses.stream(model="scripted", input=WEATHER, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds, kinds
    assert json.loads(final.output[-1].arguments) == {"city": "Graz", "days": 2}, final
    other = scripted.responses.with_raw_response.create(
        model="scripted", input=WEATHER, tools=TOOLS + [{"type": "web_search"}]
    )
    assert "web_search" in other.headers["warning"]


def parsed():
    answer = scripted.responses.parse(model="scripted", input="Jane is 30", text_format=Person)
    assert answer.output_parsed == Person(name="Jane", age=30), answer


def errors():
    for fields, kind, param in [
        ({"temperature": -1}, openai.BadRequestError, "temperature"),
        ({"model": "gpt-9"}, openai.NotFoundError, "model"),
        ({"previous_response_id": "resp_x"}, openai.BadRequestError, "previous_response_id"),
    ]:
        try:
            demo.responses.create(**{"model": "demo", "input": QUESTION, **fields})
        except kind as error:
            assert error.param == param, error
        else:
            raise AssertionError(f"{fields} was accepted")


for test in [responses, stored, tools, parsed, errors]:
    test()
    print("ok", test.__name__, flush=True)
