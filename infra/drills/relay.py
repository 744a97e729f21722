"""An HTTP relay in front of a service, through which whoever asks can be refused, kept waiting or cut off."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

Interference = Callable[[web.Request], Awaitable[web.Response | None]]
"""Answers a request in the service's place, or does not."""

_MOST_BYTES = 2**30
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "date", "server"}


@dataclass
class Watch:
    """A call to make at the nth request of a kind, before the service gets it or after it has done as asked."""

    fits: Callable[[str, str], bool]
    """Method and path."""
    call: Callable[[], None]
    nth: int = 1
    before: bool = False


class Relay:
    """Listens on 127.0.0.1 while its context lasts, and hands on what it is asked, as long as no fault answers.

    Args:
        upstream: URL of the service, without a path.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._fault: Interference | None = None
        self._watches: list[Watch] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="relay", daemon=True)
        self.port = 0
        self.written: list[float] = []
        """When the service took what was written to it, in seconds since 1970."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @contextmanager
    def faulty(self, fault: Interference) -> Iterator[None]:
        """A block in which a fault sees every request first."""
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None

    def watch(self, watch: Watch) -> None:
        """Have a call made, once."""
        self._watches.append(watch)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._begin())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _begin(self) -> None:
        self._session = aiohttp.ClientSession(
            auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
        )
        application = web.Application(client_max_size=_MOST_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _end(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        watch = self._watched(request.method, request.raw_path)
        if watch is not None and watch.before:
            watch.call()
        if self._fault is not None and (answer := await self._fault(request)) is not None:
            return answer
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            async with self._session.request(
                request.method,
                URL(f"{self._upstream}{request.raw_path}", encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            ) as got:
                content = await got.read()
                told = [(name, value) for name, value in got.headers.items() if name.lower() not in _HOP_BY_HOP]
                response = web.Response(status=got.status, body=content)
                response.headers.extend(told)
                if request.method == "HEAD" and (length := got.headers.get("Content-Length")):
                    response.headers["Content-Length"] = length
        except aiohttp.ClientError:
            # As if there were nobody in between.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)
        if request.method not in ("GET", "HEAD") and response.status < 300:
            self.written.append(time.time())
        if watch is not None and not watch.before:
            watch.call()
        return response

    def _watched(self, method: str, path: str) -> Watch | None:
        for watch in self._watches:
            if watch.fits(method, path):
                watch.nth -= 1
                if watch.nth == 0:
                    self._watches.remove(watch)
                    return watch
        return None


def says(status: int, code: str, *, writes: bool = False, share: float = 1.0) -> Interference:
    """Answers as an S3 service does that refuses.

    Args:
        writes: only what changes something.
        share: of the requests, at random.
    """

    async def fault(request: web.Request) -> web.Response | None:
        if (writes and request.method in ("GET", "HEAD")) or random.random() >= share:
            return None
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a drill</Message></Error>"
        return web.Response(status=status, text=text, content_type="application/xml")

    return fault


def slow(seconds: float) -> Interference:
    """Has every request wait for so long."""

    async def fault(_: web.Request) -> web.Response | None:
        await asyncio.sleep(seconds)
        return None

    return fault
