"""The real program in a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.forked import can_fork, fork

PROGRAM = (sys.executable, "-m", "llmbatch_cli")
TIMEOUT_S = 40


@dataclass(frozen=True)
class Done:
    """How the program ended, and what it wrote."""

    status: int
    out: bytes
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSONL."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anybody's keys, addresses or settings, plus `extra`.

    Nor with any of Python's own variables: PYTHONUNBUFFERED hides what a full buffer does.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith(("_API_KEY", "_BASE_URL", "_PROXY", "_CA_BUNDLE", "_CERT_DIR"))
        and not name.startswith(("LLMBATCH_", "PYTEST_", "PYTHON"))
    }
    if "LLMBATCH_CACHE_DIR" in os.environ:
        kept["LLMBATCH_CACHE_DIR"] = os.environ["LLMBATCH_CACHE_DIR"]
    quick = {"SSL_CERT_FILE": os.devnull}  # reading all authorities is half of a start
    no_settings = {
        "XDG_CONFIG_HOME": "/dev/null",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    return {**kept, **quick, **no_settings, "PYTHONWARNINGS": "error", **(extra or {})}


async def start(
    *arguments: str, env: Mapping[str, str] | None = None, fresh: bool = False, **options: Any
) -> asyncio.subprocess.Process:
    """The running program, with pipes for its three streams unless told otherwise.

    Forked where that is the same; `fresh` is for what Python does at its own start and end.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    options, whole = {**pipes, **options}, environment(env)
    if not fresh and can_fork(arguments, whole, options):
        return await fork(arguments, whole, **options)
    return await asyncio.create_subprocess_exec(*PROGRAM, *arguments, env=whole, **options)


async def run(
    *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, **options: Any
) -> Done:
    """Run the program to its end, within TIMEOUT_S."""
    process = await start(*arguments, env=env, **options)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out, err.decode())


def jsonl(rows: Sequence[object]) -> bytes:
    """The rows as JSONL."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
