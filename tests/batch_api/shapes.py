"""What the simulated providers of the other shapes share: rows, their ends, and how it is run."""

import asyncio
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from batch_api.laws import env_for, run_batch, words_for
from batch_api.simulated_openai import Job, SimulatedOpenAI
from support.program import Done, start
from support.scripted import Exchange

ENDED_EARLY = ("expired", "cancelled")


@dataclass
class Shape(SimulatedOpenAI):
    """A simulated provider of another shape.

    `answer` is given {"prompt": ...} and says what becomes of the row: None for an answer, or
    "missing", "double", "unknown" (another's id), "unworked", or an error as (status, message).
    Results come in the reverse order.
    """

    model: ClassVar[str]
    """As the user names it."""
    key_variable: ClassVar[str]
    version: ClassVar[str] = "/v1"
    create_path: ClassVar[str]
    """Regular expressions for what a request is for, as `faults` has them."""
    list_path: ClassVar[str]
    poll_path: ClassVar[str]
    results_path: ClassVar[str]
    upload_path: ClassVar[str | None] = None
    keeps: ClassVar[str] = "30 days"
    rejected: ClassVar[tuple[Any, str]]
    """A row's error that is final."""
    trouble: ClassVar[tuple[Any, str]]
    """A row's error that passes."""

    async def handle(self, exchange: Exchange) -> None:
        self.keys.add(exchange.header("x-api-key") or exchange.header("x-goog-api-key") or "")
        await super().handle(exchange)

    @property
    def base_url(self) -> str:
        return self.url.removesuffix("/v1") + self.version

    @property
    def env(self) -> dict[str, str]:
        return {self.key_variable: "key-of-the-test"}

    # Rows

    @abstractmethod
    def id_of(self, row: Mapping[str, Any]) -> str:
        """The row's id, as it was sent."""

    @abstractmethod
    def prompt_in(self, row: Mapping[str, Any]) -> str:
        """The text of the row's last message."""

    @abstractmethod
    def line(self, row: Mapping[str, Any], custom_id: str, end: Any) -> dict[str, Any] | None:
        """The result; `end`: None for an answer, one of ENDED_EARLY, or (status, message)."""

    def lines(self, job: Job, word: str) -> Iterator[dict[str, Any]]:
        """The results of a job that ends so."""
        for number, row in reversed(list(enumerate(job.rows))):
            if word in ENDED_EARLY and number >= len(job.rows) // 2:
                yield from self._result(row, word)
                continue
            said = self.answer({"prompt": self.prompt_in(row)})
            if said == "unworked":
                yield from self._result(row, "expired")
                continue
            self.worked[self.prompt_in(row)] += 1
            if said == "missing":
                continue
            custom_id = "somebody-elses" if said == "unknown" else self.id_of(row)
            yield from self._result(row, said if isinstance(said, tuple) else None, custom_id)
            if said == "double":
                yield from self._result(row, None)

    def _result(
        self, row: Mapping[str, Any], end: Any, custom_id: str | None = None
    ) -> Iterator[dict[str, Any]]:
        line = self.line(row, custom_id or self.id_of(row), end)
        if line is not None:
            yield line

    def as_file(self, lines: list[dict[str, Any]]) -> bytes:
        return b"".join(json.dumps(one).encode() + b"\n" for one in lines)

    def parts_of(self, path: str) -> list[str]:
        """The path behind the version."""
        return urlsplit(path).path.partition(f"{self.version}/")[2].split("/")


async def batch(provider: Shape, source: Path, out: Path, *more: str) -> Done:
    """The real program, through the provider's batch API."""
    address = provider.base_url
    return await run_batch(address, source, out, *more, model=provider.model, key=provider.env)


async def begun(provider: Shape, source: Path, out: Path, *more: str) -> asyncio.subprocess.Process:
    """The same, not yet ended."""
    words = words_for(source, out, provider.base_url, provider.model)
    return await start(*words, *more, env=env_for(out, provider.env))
