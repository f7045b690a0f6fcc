"""langchain-openai: answers, streams, a bound tool with its result, and structured output."""

import os
from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field


@tool
def weather(city: str, days: int) -> str:
    """Forecast for a city."""
    return "7 degrees"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class Choice(BaseModel):
    """A choice."""

    name: Literal["Jane", "John"]
    age: int = Field(ge=1, le=9)


def chat(variable: str, **fields) -> ChatOpenAI:
    return ChatOpenAI(base_url=os.environ[variable] + "/v1", api_key="none", max_retries=0, **fields)


demo = chat("SM_URL", temperature=0, max_tokens=200, model="demo")
scripted = chat("SM_SCRIPTED_URL", model="scripted")


def answers():
    text = demo.invoke("Solve for x: 2x + 3 = 9").content
    assert "Answer: 3" in text, text
    assert "".join(chunk.content for chunk in demo.stream("Solve for x: 2x + 3 = 9")) == text


def tools():
    bound = scripted.bind_tools([weather])
    messages = [HumanMessage("What is the weather in Graz?")]
    for answer in [bound.invoke(messages), sum_of(bound.stream(messages))]:
        (call,) = answer.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Graz", "days": 2}), answer
        result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
        last = bound.invoke(messages + [answer, result])
        assert last.content == "It will be 7 degrees in Graz.", last


def sum_of(chunks):
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


def structured():
    for method in ["json_schema", "json_mode"]:
        person = scripted.with_structured_output(Person, method=method).invoke("Jane is 30")
        assert person == Person(name="Jane", age=30), person
    called = demo.with_structured_output(Choice, method="function_calling").invoke("Which?")
    assert isinstance(called, Choice), called


for test in [answers, tools, structured]:
    test()
    print("ok", test.__name__, flush=True)
