"""The embedded model: llama.cpp's server in this process, on a loopback port, with OpenAI's API.

`local/smollm2` is SmolLM2-135M-Instruct, downloaded once (weights.py); `local/PATH.gguf` is any
other model file that llama.cpp reads.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.events import Event, Observer
from llmbatch_cli.core.near import did_you_mean, install_hint, near_file
from llmbatch_cli.core.types import Completion, Request, Send, WireReply
from llmbatch_cli.providers.base import Settings
from llmbatch_cli.providers.local.weights import SMOLLM2, pull
from llmbatch_cli.providers.openai.provider import OpenAI
from llmbatch_cli.providers.registry import Target, parse_query

SLOTS: Final = 4
"""Answers written at once; further requests wait in the server. More slots cost memory and save
no time: with one thread 4, 8 and 16 slots all took 18 to 20 ms of CPU a token."""
SLOT_TOKENS: Final = 4_096
"""Prompt and answer of one request, together. Slots do not share a context, in which long rows
side by side would make each other fail."""
ANSWER_TOKENS: Final = 512
"""Without max_tokens: a small model may go on for ever."""
HTTP_THREADS: Final = 128
"""Each request holds one of llama.cpp's threads, also while it waits for a slot."""

SYSTEM: Final = "You are a helpful assistant. Give short, clear and correct answers."
TEMPERATURE: Final = 0.0
REPEAT_PENALTY: Final = 1.05
CHAT_TEMPLATE: Final = (
    "{% if messages[0]['role'] != 'system' %}"
    f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    "{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""SmolLM2's own template with `SYSTEM` as the default system message."""

Load = Callable[[Observer, threading.Event], Path]
"""Gives the model's file, downloading it first if need be; blocks."""


class Local(OpenAI):
    """A model that runs in this process and costs nothing.

    Defaults are set on the server, so that a request's own parameters win: at most 512 tokens
    an answer, and for smollm2 temperature 0, repeat_penalty 1.05 and a system message that asks
    for short answers. Of 30 plain questions that were not used in choosing them, one run each
    and judged by a keyword, 26 came out right with these, 21 with the model's own system message
    at temperature 0, 19 with it and its card's sampling (0.2, top_p 0.9). It remains a very
    small model.

    The server listens on loopback alone and demands a random key, so that neither other users
    of this machine nor web pages can use it.

    Args:
        model: `smollm2`, or the path of a file that ends in .gguf.
        load: gives the weights of smollm2.

    Raises UsageError for another model or a missing file.
    """

    def __init__(self, model: str, *, load: Load | None = None) -> None:
        super().__init__(Settings("local", "http://127.0.0.1/v1", secrets.token_urlsafe(32)))
        # The server drops a connection after 5 idle seconds; a request sent just then is lost.
        # A new one costs nothing beside an answer.
        self._headers["connection"] = "close"
        self._model = model
        self._load = load or _smollm2 if model == SMOLLM2.name else _existing(model)

    @classmethod
    def target(cls, model: str, query: str) -> Target:
        """`smollm2` or `PATH.gguf`, with sampling parameters in `query`."""
        return Target(cls(model), model, parse_query(query))

    @property
    def source(self) -> Sequence[str]:
        """The model's file; the server's address is another one each time."""
        if self._model == SMOLLM2.name:
            return (self.name, SMOLLM2.sha256)
        file = Path(self._model).expanduser().resolve()
        state = file.stat()
        return (self.name, str(file), str(state.st_size), str(state.st_mtime_ns))

    def parse(self, request: Request, reply: WireReply) -> Completion:
        return replace(super().parse(request, reply), cost_usd=0.0)

    @asynccontextmanager
    async def serving(self, observe: Observer) -> AsyncIterator[Send | None]:
        """Load the model, serve it, and stop the server at the end.

        Raises UsageError where xllamacpp is missing, the weights cannot be downloaded, or the
        file is not a model.
        """
        engine = _engine()
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def report(event: Event) -> None:
            loop.call_soon_threadsafe(observe, event)

        try:
            path = await asyncio.to_thread(self._load, report, stop)
        finally:
            stop.set()
        holder = [await asyncio.to_thread(self._start, engine, path)]
        try:
            self.aim(f"{holder[0].listening_address}/v1")
            yield None
        finally:
            # The server ends with its last reference, which takes some 0.1 s.
            await asyncio.shield(asyncio.to_thread(holder.clear))

    def _start(self, engine: ModuleType, path: Path) -> Any:
        try:
            return engine.Server(self._params(engine, path))
        except RuntimeError as error:
            raise UsageError(
                f"llama.cpp cannot load {path}",
                hint="check that it is a whole GGUF model, and that there is memory for it",
            ) from error

    def _params(self, engine: ModuleType, path: Path) -> Any:
        params = engine.CommonParams()
        params.model.path = str(path)
        params.model_alias = {Path(self._model).name}
        params.n_parallel = SLOTS
        params.n_ctx = SLOTS * SLOT_TOKENS
        params.n_predict = ANSWER_TOKENS
        params.n_threads_http = HTTP_THREADS
        params.cache_ram_mib = 0
        params.verbosity = -1
        # No other process and no web page gets in.
        params.port = 0
        params.api_keys = [self._api_key]
        params.cors_origins = "http://127.0.0.1"
        params.cors_credentials = False
        params.ui = False
        params.endpoint_slots = False
        if self._model == SMOLLM2.name:
            params.chat_template = CHAT_TEMPLATE
            params.sampling.temp = TEMPERATURE
            params.sampling.penalty_repeat = REPEAT_PENALTY
        return params


def _engine() -> ModuleType:
    # Read once, when the library is loaded. Spinning threads would take the cores from the
    # rest of this process: on two busy cores waiting ones were twice as fast.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import xllamacpp
    except ImportError as error:
        raise UsageError(
            f"the embedded model needs xllamacpp: {error}",
            hint=install_hint("local"),
        ) from error
    module: ModuleType = xllamacpp
    return module


def _smollm2(observe: Observer, stop: threading.Event) -> Path:
    return pull(observe, stop=stop)


def _existing(model: str) -> Load:
    path = Path(os.path.expanduser(model))  # noqa: PTH111 - which raises for an unknown user
    if path.suffix != ".gguf":
        raise UsageError(
            f"no embedded model {model!r}",
            hint=f"it is local/{SMOLLM2.name}, or local/PATH.gguf for a model file",
        )
    if not os.path.isfile(path):  # noqa: PTH113 - which raises for a name that is too long
        near = near_file(os.fspath(path))
        hint = (
            did_you_mean([f"local/{near}"]) if near else "local/PATH.gguf names a file on the disk"
        )
        raise UsageError(f"no model file {model[:200]}", hint=hint)
    return lambda observe, stop: path
