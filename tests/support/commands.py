"""Commands run as the program runs them, whether or not the program lists them."""

import asyncio
import sys
from collections.abc import Sequence

from support.program import TIMEOUT_S, Done, environment

REGISTERED = """
import sys
from llmbatch_cli.cli.app import app, run_app
from llmbatch_cli.cli.models_command import models
from llmbatch_cli.cli.providers_command import providers
app.command()(models)
app.command()(providers)
sys.argv[0] = "llmbatch"
sys.exit(run_app())
"""


async def run_command(*arguments: str, env: dict[str, str] | None = None) -> Done:
    """Run one of the commands to its end, within TIMEOUT_S."""
    return await run_program((sys.executable, "-c", REGISTERED), *arguments, env=env)


async def run_program(
    program: Sequence[str], *arguments: str, env: dict[str, str] | None = None
) -> Done:
    """Run this program to its end, within TIMEOUT_S."""
    process = await asyncio.create_subprocess_exec(
        *program, *arguments, env=environment(env), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out, err.decode())
