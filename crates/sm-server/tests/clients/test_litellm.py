"""litellm: chats, streams, a tool with its result, structured output, embeddings, errors, over OpenAI's and Anthropic's API."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet for prices

import litellm
from pydantic import BaseModel


DEMO = {"api_base": os.environ["SM_URL"] + "/v1", "api_key": "none", "max_retries": 0}
SCRIPTED = {"api_base": os.environ["SM_SCRIPTED_URL"] + "/v1", "api_key": "none", "max_retries": 0}
QUESTION = [{"role": "user", "content": "Solve for x: 2x + 3 = 9"}]
WEATHER = [{"role": "user", "content": "What is the weather in Graz?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    }
]


class Person(BaseModel):
    name: str
    age: int


def chats():
    for model in ["openai/demo", "hosted_vllm/demo"]:
        fields = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 200, **DEMO}
        answer = litellm.completion(**fields)
        text = answer.choices[0].message.content
        assert "Answer: 3" in text, answer
        chunks = list(litellm.completion(**fields, stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
        assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens


def texts():
    answer = litellm.text_completion(
        model="text-completion-openai/demo", prompt=["Once upon a time", "In a distant"], max_tokens=4, **DEMO
    )
    assert len(answer.choices) == 2 and answer.usage.completion_tokens == 8, answer


def tools():
    """A loop: the call, its result, and the answer from it."""
    messages = list(WEATHER)
    first = litellm.completion(model="openai/scripted", messages=messages, tools=TOOLS, **SCRIPTED)
    message = first.choices[0].message
    call = message.tool_calls[0]
    assert first.choices[0].finish_reason == "tool_calls", first
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Graz", "days": 2})
    assert message.reasoning_content == "The user wants a forecast.", message
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"}]
    last = litellm.completion(model="openai/scripted", messages=messages, tools=TOOLS, **SCRIPTED)
    assert last.choices[0].message.content == "It will be 7 degrees in Graz.", last
    chunks = list(litellm.completion(model="openai/scripted", messages=WEATHER, tools=TOOLS, stream=True, **SCRIPTED))
    whole = litellm.stream_chunk_builder(chunks, messages=WEATHER)
    assert json.loads(whole.choices[0].message.tool_calls[0].function.arguments) == {"city": "Graz", "days": 2}, whole


def structured():
    answer = litellm.completion(
        model="openai/scripted",
        messages=[{"role": "user", "content": "Jane is 30"}],
        response_format=Person,
        **SCRIPTED,
    )
    assert Person.model_validate_json(answer.choices[0].message.content) == Person(name="Jane", age=30), answer


def anthropic():
    answer = litellm.completion(
        model="anthropic/demo", messages=QUESTION, max_tokens=200, temperature=0, api_base=os.environ["SM_URL"], api_key="none"
    )
    assert "Answer: 3" in answer.choices[0].message.content, answer


def embeddings():
    vectors = litellm.embedding(model="openai/demo", input=["One", "Two"], encoding_format="float", **DEMO)
    assert len(vectors.data) == 2 and len(vectors.data[0]["embedding"]) > 100, vectors


def errors():
    for fields, kind in [
        ({"temperature": -1}, litellm.BadRequestError),
        ({"model": "openai/gpt-9"}, litellm.NotFoundError),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, litellm.BadRequestError),
    ]:
        try:
            litellm.completion(**{"model": "openai/demo", "messages": QUESTION, **DEMO, **fields})
        except kind:
            pass
        else:
            raise AssertionError(f"{fields} was accepted")


for test in [chats, texts, tools, structured, anthropic, embeddings, errors]:
    test()
    print("ok", test.__name__, flush=True)
