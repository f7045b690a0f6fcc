"""Serves on all machines of a Ray cluster: Ray Serve with one `sm serve` in each replica.

    serve run serve_app:app

Ray starts, watches and scales the replicas; each passes requests and streams on to its own server. Where prefixes matter, as in
chats and agents, put smg in front instead: Ray's router does not know what a replica has cached (docs/scale-out.md).
"""

import asyncio
import os
import shlex
import socket

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

# Headers that belong to one connection.
OWN = {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}


@serve.deployment(
    num_replicas=int(os.environ.get("REPLICAS", "2")),
    ray_actor_options={"num_cpus": float(os.environ.get("CPUS", "1"))},
    # Those that run and those that wait in a replica; more wait in Ray's router.
    max_ongoing_requests=32,
    health_check_period_s=5,
    graceful_shutdown_timeout_s=40,
)
class SmServe:
    """A replica."""

    async def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = shlex.split(os.environ.get("SM_OPTIONS", ""))
        self.process = await asyncio.create_subprocess_exec(os.environ.get("SM", "sm"), "serve", "--port", str(port), *options)
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(total=None))
        while not await self.is_ready():
            if self.process.returncode is not None:
                raise RuntimeError(f"sm serve has ended with {self.process.returncode}")
            await asyncio.sleep(0.2)

    async def is_ready(self):
        try:
            async with self.session.get("/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def check_health(self):
        """Ray replaces a replica that raises."""
        if not await self.is_ready():
            raise RuntimeError("sm serve is not ready")

    async def __call__(self, request: Request):
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        headers = {name: value for name, value in request.headers.items() if name not in OWN}
        answer = await self.session.request(request.method, path, data=await request.body(), headers=headers)

        async def content():
            # Leaving the block closes the connection, so that a client who goes away ends the request.
            async with answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

        headers = {name: value for name, value in answer.headers.items() if name.lower() not in OWN}
        return StreamingResponse(content(), answer.status, headers)

    async def __del__(self):
        self.process.terminate()
        await self.process.wait()
        await self.session.close()


app = SmServe.bind()
