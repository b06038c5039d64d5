"""A wire at a simulated provider, for tests of the wire alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from batch_api.shapes import Shape

from llmbatch_cli.drivers.provider_batch.http import BatchHttp, open_batch_http
from llmbatch_cli.providers.access import Access
from llmbatch_cli.providers.batch_api import BatchWire, Intent, JobStatus, Result
from llmbatch_cli.providers.batch_storage import Storage
from llmbatch_cli.providers.batch_wires import batch_wire
from llmbatch_cli.providers.registry import resolve


def intent_of(rows: int, made_s: float, size: int = 0) -> Intent:
    return Intent(
        id="0123456789abcdef",
        model="m",
        group="",
        rows=rows,
        bytes=size,
        sha256="",
        made_s=made_s,
    )


@asynccontextmanager
async def wire_of(provider: Shape) -> AsyncIterator[tuple[BatchWire, BatchHttp]]:
    """The provider's wire and its network."""
    access = Access(environ=provider.env, base_url=provider.base_url)
    target = resolve(provider.model, access)
    async with open_batch_http(base_s=0.01) as http:
        storage = Storage().or_of(provider.env)
        yield batch_wire(target.provider, target.provider.build, access.setup, storage), http


async def collected(wire: BatchWire, http: BatchHttp, job: str, status: JobStatus) -> list[Result]:
    return [result async for result in wire.collect(http, job, status)]


def body_file(tmp_path: Path, lines: list[bytes]) -> Path:
    path = tmp_path / "rows.body"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
