"""A worker of NVIDIA Dynamo that answers with an `sm serve`: Dynamo's frontend chooses among many of them by what their caches hold.

    python worker.py MODEL_DIRECTORY --replica http://127.0.0.1:8000 --kv-events tcp://127.0.0.1:5557

MODEL_DIRECTORY has the model's config.json, tokenizer.json and tokenizer_config.json, with which the frontend writes prompts and reads
answers: token ids go to the replica, and token ids come back. The worker waits until its replica is ready, and ends when it no longer
is, so that the frontend asks others; what supervises it starts it again.
"""

import argparse
import asyncio
import json
import os
import signal

import aiohttp
from dynamo.common.backend import EngineConfig, LLMEngine, LlmRegistration, WorkerConfig
from dynamo.common.backend.publisher import ZmqSource
from dynamo.common.backend.run import run
from dynamo.llm import HttpError
from dynamo.llm.exceptions import EngineShutdown, InvalidArgument, StreamIncomplete

# Options that the replica knows by the same names, by their places in a request.
SAME = {
    "sampling_options": {"temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed"},
    "sampling_options.guided_decoding": {"json", "regex", "choice", "grammar"},
    "stop_conditions": {"max_tokens", "min_tokens", "ignore_eos", "stop_token_ids"},
    "routing": {"cache_salt", "priority"},
    "extra_args.sampling_options": {"allowed_token_ids"},
}

# What the frontend does itself, or only its router needs. Texts that end an answer are found by the frontend, which then cancels.
FRONTENDS = {
    "": {
        "model", "token_ids", "eos_token_ids", "mdc_sum", "annotations", "request_timestamp_ms", "router", "router_config_override",
        "agent_context", "image_cache_scope", "kv_hint", "migration_link",
    },
    "sampling_options": {"include_stop_str_in_output"},
    "stop_conditions": {"stop", "stop_token_ids_hidden"},
    "output_options": {"skip_special_tokens"},
    "routing": {
        "backend_instance_id", "allowed_worker_ids", "routing_constraints", "dp_rank", "expected_output_tokens", "priority_jump",
        "strict_priority",
    },
    "extra_args": {"nvext"},
}


def options(given, place=""):
    """The options of a request as the replica takes them."""
    body = {}
    for name, value in given.items():
        inner = f"{place}.{name}" if place else name
        if value is None or value is False or (name, value) == ("n", 1) or name in FRONTENDS.get(place, ()):
            continue
        if inner in SAME or inner in FRONTENDS:
            body |= options(value, inner)
        elif name not in SAME.get(place, ()):
            raise InvalidArgument(f"{inner} is not supported")
        elif place == "sampling_options.guided_decoding":
            body[f"guided_{name}"] = value
        else:
            # Lower priorities go first here, higher ones there.
            body[name] = -value if name == "priority" else value
    return body


def failure(status, text):
    """What an answer that is an error means to Dynamo: another worker is tried after EngineShutdown, and the others go to the client."""
    try:
        text = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        pass
    text = f"the replica says {status}: {text}"
    if status == 503:
        return EngineShutdown(text)
    return InvalidArgument(text) if status in (400, 404, 413, 422) else HttpError(status, text)


class Replica(LLMEngine):
    """An `sm serve`."""

    def __init__(self, args):
        self.args = args
        self.session = None
        self.watch = None
        self.answers = {}

    @classmethod
    async def from_args(cls, argv=None):
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("model", help="directory with the configuration and the tokenizer of the model")
        parser.add_argument("--name", help="name of the model [default: that of the replica]")
        parser.add_argument("--replica", default="http://127.0.0.1:8000", help="address of sm serve")
        parser.add_argument("--kv-events", help="address of its events, as in tcp://127.0.0.1:5557")
        parser.add_argument("--endpoint-types", default="chat,completions", help="completions, for a model without a chat template")
        parser.add_argument("--namespace", default="dynamo")
        parser.add_argument("--discovery-backend", default=os.environ.get("DYN_DISCOVERY_BACKEND", "etcd"))
        args = parser.parse_args(argv)
        config = WorkerConfig(
            args.namespace,
            model_name=args.model,
            endpoint_types=args.endpoint_types,
            discovery_backend=args.discovery_backend,
        )
        return cls(args), config

    async def start(self, worker_id):
        key = os.environ.get("SM_API_KEY")
        self.session = aiohttp.ClientSession(
            self.args.replica,
            connector=aiohttp.TCPConnector(limit=0),
            headers={"authorization": f"Bearer {key}"} if key else None,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )
        while not await self.is_ready():
            await asyncio.sleep(0.2)
        async with self.session.get("/server_info") as answer:
            info = await answer.json()
        self.watch = asyncio.create_task(self.end_with_the_replica())
        registration = LlmRegistration(
            context_length=info["context_length"],
            kv_cache_block_size=info["block_size"],
            total_kv_blocks=info["max_total_num_tokens"] // info["block_size"],
            max_num_seqs=info["max_running_requests"],
        )
        return EngineConfig(self.args.model, self.args.name or info["served_model_name"], llm=registration)

    async def is_ready(self):
        try:
            async with self.session.get("/ready", timeout=aiohttp.ClientTimeout(total=20)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    async def end_with_the_replica(self):
        """Deregisters a replica that drains or is gone; what runs is finished."""
        while await self.is_ready():
            await asyncio.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    async def kv_event_sources(self):
        return [ZmqSource(self.args.kv_events)] if self.args.kv_events else []

    async def generate(self, request, context):
        body = {"max_tokens": -1} | options(request)
        body |= {"prompt": request["token_ids"], "stream": True, "return_token_ids": True, "stream_options": {"include_usage": True}}
        try:
            async with self.session.post("/v1/completions", json=body, headers={"x-request-id": context.id()}) as answer:
                if answer.status != 200:
                    raise failure(answer.status, await answer.text())
                self.answers[context.id()] = answer
                if context.is_stopped():
                    return
                async for chunk in chunks(answer):
                    yield chunk
        except aiohttp.ClientConnectorError as error:
            raise EngineShutdown(f"the replica is gone: {error}") from error
        except aiohttp.ClientError as error:
            raise StreamIncomplete(f"the replica is gone: {error}") from error
        finally:
            self.answers.pop(context.id(), None)

    async def abort(self, context):
        """Closes the connection, by which the replica knows that nobody waits."""
        if answer := self.answers.pop(context.id(), None):
            answer.close()

    async def cleanup(self):
        if self.watch:
            self.watch.cancel()
        if self.session:
            await self.session.close()


async def chunks(answer):
    """The tokens of a streamed answer."""
    last = None
    async for line in answer.content:
        data = line.decode().removeprefix("data:").strip()
        if data == "[DONE]" and last:
            yield last
            return
        if data in ("", "[DONE]"):
            continue
        event = json.loads(data)
        if "error" in event:
            raise StreamIncomplete(f"the replica says: {event['error'].get('message')}")
        for choice in event["choices"]:
            chunk = {"token_ids": choice["token_ids"], "index": choice["index"]}
            if choice["finish_reason"]:
                # Goes out with the usage, which follows.
                last = chunk | {"finish_reason": choice["finish_reason"]}
            elif chunk["token_ids"]:
                yield chunk
        if last and event.get("usage"):
            last["completion_usage"] = event["usage"]
    raise StreamIncomplete("the replica's answer has no end")


if __name__ == "__main__":
    run(Replica)
