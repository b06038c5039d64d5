"""A run whose output is in a store: on a local copy, from its lock to the object."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from llmbatch_cli.cli.say import Voice
from llmbatch_cli.core.errors import ExitStatus, OutputError, UsageError
from llmbatch_cli.core.folders import state_folder
from llmbatch_cli.drivers.delivery import to_its_end
from llmbatch_cli.job import Job
from llmbatch_cli.rows.stored.lock import store_lock
from llmbatch_cli.rows.stored.output import StoredOutput
from llmbatch_cli.storage import located

FOLDER: Final = "outputs"


async def to_store(
    job: Job, address: str, run: Callable[[Job], Awaitable[ExitStatus]], voice: Voice
) -> ExitStatus:
    """Run the job on a local copy of the output at this address.

    Its rows go to the store every few seconds, and at the end it is one object there. Raises
    UsageError before the run where nothing can be written.
    """
    if job.batch_api.batch_api:
        raise UsageError(
            "--batch-api keeps its jobs beside the output, which has to be a file here",
            hint=f"name a local file with -o, and copy it to {address} afterwards",
        )
    storage, name = located(address)
    if not name:
        raise UsageError(f"{address} is a whole bucket", hint=f"as in {address}/answers.jsonl")
    copies = state_folder(os.environ) / FOLDER
    async with AsyncExitStack() as stack:
        taking = store_lock(storage, name)
        lock = await asyncio.to_thread(taking.__enter__)
        stack.push_async_callback(asyncio.to_thread, taking.__exit__, None, None, None)
        stored = StoredOutput(storage, name, job.output, copies, lock)
        await asyncio.to_thread(stored.begin, voice.notice)
        output = replace(job.output, output=stored.output)
        status = await run(replace(job, output=output, stored=stored))
        try:
            await to_its_end(partial(stored.finish, voice.notice))
        except OutputError as error:
            voice.error(error)
            return ExitStatus.STOPPED
    return status
