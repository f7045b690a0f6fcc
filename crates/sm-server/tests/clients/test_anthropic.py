"""Anthropic's SDK for Python: messages, streams, tools, thoughts, counts, errors."""

import os

import anthropic

demo = anthropic.Anthropic(base_url=os.environ["SM_URL"], api_key="none", max_retries=0)
scripted = anthropic.Anthropic(base_url=os.environ["SM_SCRIPTED_URL"], api_key="none", max_retries=0)
QUESTION = [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}]
WEATHER = [{"role": "user", "content": "What is the weather in Graz?"}]
# Newer versions of the SDK have no argument for it.
GREEDY = {"temperature": 0}
TOOLS = [
    {
        "name": "weather",
        "description": "The weather.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    }
]


def messages():
    answer = demo.messages.create(model="demo", max_tokens=200, messages=QUESTION, extra_body=GREEDY)
    assert "Answer: 3" in answer.content[0].text and answer.stop_reason == "end_turn", answer
    with demo.messages.stream(model="demo", max_tokens=200, messages=QUESTION, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == answer.content[0].text == final.content[0].text
    assert final.usage.output_tokens == answer.usage.output_tokens
    beta = demo.beta.messages.create(
        model="demo", max_tokens=3, messages=QUESTION, betas=["context-management-2025-06-27"]
    )
    assert beta.stop_reason == "max_tokens", beta
    stopped = demo.messages.create(
        model="demo", max_tokens=200, messages=QUESTION, extra_body=GREEDY, stop_sequences=["zzz", "2x ="]
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "2x ="), stopped


def counts():
    counted = demo.messages.count_tokens(model="demo", messages=QUESTION, system="Be brief.")
    answer = demo.messages.create(model="demo", max_tokens=1, messages=QUESTION, system="Be brief.")
    assert counted.input_tokens == answer.usage.input_tokens + answer.usage.cache_read_input_tokens, counted


def tools():
    """A loop: the call, its result, and the answer from it."""
    turn = {"model": "scripted", "max_tokens": 200, "tools": TOOLS}
    first = scripted.messages.create(messages=WEATHER, thinking={"type": "adaptive"}, **turn)
    assert first.stop_reason == "tool_use", first
    kinds = [block.type for block in first.content]
    assert kinds == ["thinking", "text", "tool_use"], kinds
    call = first.content[-1]
    assert (call.name, call.input) == ("weather", {"city": "Graz", "days": 2}), first
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "7 degrees"}
    both = WEATHER + [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = scripted.messages.create(messages=both, **turn)
    assert last.content[-1].text == "It will be 7 degrees in Graz.", last
    with scripted.messages.stream(messages=WEATHER, **turn) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert "input_json" in events, events
    assert streamed.content[-1].input == {"city": "Graz", "days": 2}, streamed
    # A choice of few: so small a model would write a city until its tokens are spent.
    few = {"city": {"enum": ["Graz", "Linz"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}
    schema = {"type": "object", "properties": few, "required": list(few), "additionalProperties": False}
    forced = demo.messages.create(
        model="demo",
        max_tokens=300,
        messages=WEATHER,
        tools=[{"name": "weather", "input_schema": schema}],
        tool_choice={"type": "any"},
    )
    call = forced.content[-1].input
    assert call["city"] in ["Graz", "Linz"] and 1 <= call["days"] <= 9, forced


def errors():
    for fields, kind, name in [
        ({"model": "gpt-9"}, anthropic.NotFoundError, "not_found_error"),
        ({"extra_body": {"temperature": -1}}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, anthropic.BadRequestError, "invalid_request_error"),
    ]:
        try:
            demo.messages.create(**{"model": "demo", "max_tokens": 5, "messages": QUESTION, **fields})
        except kind as error:
            assert error.body["error"]["type"] == name, error
        else:
            raise AssertionError(f"{fields} was accepted")


for test in [messages, counts, tools, errors]:
    test()
    print("ok", test.__name__, flush=True)
