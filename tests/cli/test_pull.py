"""`llmbatch pull`: the weights ahead of time, and a clean end at a signal."""

import asyncio
import signal
from pathlib import Path

import pytest
from support.program import start
from support.scripted import Exchange, serve


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_download_and_leaves_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    """While the registry is silent, a signal to the process ends pip and removes its folder."""
    asked = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        asked.set()
        await exchange.until_closed()
        gone.set()

    gone = asyncio.Event()
    async with serve(silent) as server, asyncio.timeout(30):
        env = {"LLMBATCH_CACHE_DIR": str(tmp_path), "PIP_INDEX_URL": server.url}
        env["PYTHONWARNINGS"] = ""  # pip is not ours
        process = await start("pull", env=env)
        await asked.wait()
        process.send_signal(number)
        async with asyncio.timeout(6):
            _, err = await process.communicate()
            await gone.wait()
    assert (process.returncode, b"Traceback" in err) == (130, False)
    assert list((tmp_path / "models").iterdir()) == []
