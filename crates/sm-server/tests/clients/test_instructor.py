"""instructor: objects from chats by tools, JSON mode and JSON schemas, streamed, repeated after a wrong answer, and errors."""

import os
from typing import Literal

import instructor
import openai
from instructor.core import InstructorRetryException
from pydantic import BaseModel, ConfigDict, Field


class Person(BaseModel):
    name: str
    age: int


class Choice(BaseModel):
    # So small a model would write further properties until its tokens are spent.
    model_config = ConfigDict(extra="forbid")
    name: Literal["Jane", "John"]
    age: int = Field(ge=1, le=9)


JANE = [{"role": "user", "content": "Jane is 30"}]


def client(variable: str, mode: instructor.Mode):
    url = os.environ[variable] + "/v1"
    return instructor.from_openai(openai.OpenAI(base_url=url, api_key="none", max_retries=0), mode=mode)


def objects():
    for mode in [instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA]:
        person = client("SM_SCRIPTED_URL", mode).create(model="scripted", response_model=Person, messages=JANE)
        assert (person.name, person.age) == ("Jane", 30), (mode, person)


def tools():
    # The model is forced to call a tool, and a grammar keeps its arguments to the schema.
    for mode in [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT]:
        chosen = client("SM_URL", mode).create(
            model="demo",
            response_model=Choice,
            messages=[{"role": "user", "content": "Which?"}],
            max_tokens=300,
            temperature=0,
        )
        assert isinstance(chosen, Choice), (mode, chosen)


def streams():
    parts = client("SM_SCRIPTED_URL", instructor.Mode.JSON).create_partial(
        model="scripted", response_model=Person, messages=JANE
    )
    assert list(parts)[-1].model_dump() == {"name": "Jane", "age": 30}


def repeats():
    class Adult(BaseModel):
        name: str
        age: int = Field(ge=99)

    try:
        client("SM_SCRIPTED_URL", instructor.Mode.JSON).create(
            model="scripted", response_model=Adult, messages=JANE, max_retries=1
        )
    except InstructorRetryException as error:
        assert error.n_attempts > 1, error
    else:
        raise AssertionError("Jane is not that old")


def errors():
    try:
        client("SM_URL", instructor.Mode.JSON).create(
            model="demo", response_model=Person, messages=JANE, temperature=-1, max_retries=1
        )
    except InstructorRetryException as error:
        assert "temperature" in str(error), error
    else:
        raise AssertionError("a temperature below 0 was accepted")


for test in [objects, tools, streams, repeats, errors]:
    test()
    print("ok", test.__name__, flush=True)
