"""A dashboard that answers as Ray's does, as far as jobs go, and whose connections a test can cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import ray
from aiohttp import web

from infra.cluster.job_api import versions_here


class Dashboard:
    """Its jobs run as long as the test says.

    Args:
        token: asked for, if there is one.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.versions = versions_here()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submitted: list[dict[str, Any]] = []
        self.log = ""
        self.cuts: list[int] = []
        """After how many characters of the log each of the next connections breaks."""
        self.packages: dict[str, bytes] = {}
        self.connections = 0
        self.url = ""

    def end(self, job_id: str, state: str, exit_code: int = 0, message: str = "") -> None:
        self.jobs[job_id].update(status=state, end_time=2000, driver_exit_code=exit_code, message=message)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._authenticate], client_max_size=2**26)
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/v0/cluster_metadata", self._metadata),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{id}", self._job),
                web.post("/api/jobs/{id}/stop", self._stop),
                web.get("/api/jobs/{id}/logs/tail", self._tail),
                web.get("/api/packages/{protocol}/{name}", self._has_package),
                web.put("/api/packages/{protocol}/{name}", self._package),
            ]
        )
        return app

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if self.token is not None and given != f"Bearer {self.token}":
            return web.Response(status=403 if given else 401, text="no")
        return await handler(request)  # type: ignore[no-any-return]

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": self.versions.ray, "ray_commit": ray.__commit__})

    async def _metadata(self, request: web.Request) -> web.Response:
        return web.json_response({"result": True, "msg": "", "data": {"pythonVersion": self.versions.python}})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(list(self.jobs.values()))

    async def _submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["submission_id"] in self.jobs:
            return web.Response(status=500, text="that id is taken")
        self.submitted.append(asked)
        self.jobs[asked["submission_id"]] = {
            "type": "SUBMISSION",
            "submission_id": asked["submission_id"],
            "status": "RUNNING",
            "entrypoint": asked["entrypoint"],
            "start_time": 1000,
        }
        return web.json_response({"job_id": asked["submission_id"], "submission_id": asked["submission_id"]})

    async def _job(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        return web.json_response(job) if job else web.Response(status=404, text="no such job")

    async def _stop(self, request: web.Request) -> web.Response:
        self.end(request.match_info["id"], "STOPPED")
        return web.json_response({"stopped": True})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.cuts:
            await socket.send_str(self.log[: self.cuts.pop(0)])
            await socket.close(code=aiohttp.WSCloseCode.INTERNAL_ERROR)
        else:
            for line in self.log.splitlines(keepends=True):
                await socket.send_str(line)
            while self.jobs[request.match_info["id"]]["status"] == "RUNNING":
                await asyncio.sleep(0.02)
        return socket

    async def _has_package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _package(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()


@contextmanager
def served(dashboard: Dashboard) -> Iterator[Dashboard]:
    """The dashboard on a free port of loopback; its `url` says which."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(dashboard.app(), shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        dashboard.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield dashboard
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
