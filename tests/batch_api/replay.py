"""Recorded exchanges in place of a network: what a wire asks for must be what was asked for."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.providers.batch_api import NoDownload

RECORDED: Final = Path(__file__).with_name("recorded")


class Replay:
    """An Http, see providers/batch_api.py. The last exchange of a kind is given again and again."""

    def __init__(self, name: str) -> None:
        self._left: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for one in json.loads((RECORDED / f"{name}.json").read_text())["exchanges"]:
            self._left.setdefault((one["method"], one["path"]), []).append(one)
        self.asked: list[str] = []

    def _reply(self, request: WireRequest) -> WireReply:
        url = urlsplit(request.url)
        self.asked.append(f"{request.method} {url.path}")
        found = self._left.get((request.method, f"{url.path}?{url.query}"))
        found = found or self._left[request.method, url.path]
        one = found.pop(0) if len(found) > 1 else found[0]
        bodies = one["lines"] if "lines" in one else [one["json"]]
        body = b"\n".join(json.dumps(body).encode() for body in bodies)
        return WireReply(one["status"], one["headers"], body)

    async def get(self, request: WireRequest) -> WireReply:
        return self._reply(request)

    async def once(self, request: WireRequest) -> WireReply:
        return self._reply(request)

    async def upload(
        self,
        request: WireRequest,
        file: Path,
        before: bytes = b"",
        after: bytes = b"",
        start: int = 0,
    ) -> WireReply:
        return self._reply(request)

    async def lines(self, request: WireRequest) -> AsyncIterator[bytes]:
        reply = self._reply(request)
        if reply.status != 200:
            raise NoDownload(reply)
        for line in reply.body.splitlines():
            yield line
