"""The real program in a process of its own, forked from one that has its imports already.

A start takes milliseconds of CPU in place of a quarter of a second. Run as a script this file is
the process to fork from; there is one for each process of tests. It is sent what to run over a
socket, with the three standard streams and a pipe in which it tells the child's number and, once
the child has ended, its exit status.
"""

import asyncio
import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from asyncio import base_subprocess
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process, SubprocessStreamProtocol
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import llmbatch_cli
import llmbatch_cli.__main__ as program

NUMBER: Final = struct.Struct("=q")
MOST_BYTES: Final = 2**16
"""Of arguments and variables; a socket takes no message of any size."""
SELDOM: Final = (
    "anyio._backends._asyncio", "encodings.idna", "genai_prices.data_snapshot", "json_repair",
    "jsonschema_rs", "resource", "rich.progress", "tomlkit", "uvloop", "xlsxwriter", "yaml",
)  # fmt: skip
"""What some runs import as they go; nothing that begins with threads, as pyarrow does."""
READ_AT_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_")
"""How variables begin that a process only reads as it starts."""


def can_fork(arguments: Sequence[str], env: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    """Whether a forked process is like a fresh one here."""
    if sys.platform != "linux" or options.keys() - {"stdin", "stdout", "stderr", "cwd", "limit"}:
        return False
    if sum(map(len, (*arguments, *env.values()))) > MOST_BYTES:
        return False
    return _at_start(env) == _at_start(_forker().env)


async def fork(arguments: Sequence[str], env: Mapping[str, str], **options: Any) -> Process:
    """The running program, as from asyncio.create_subprocess_exec."""
    loop = asyncio.get_running_loop()
    limit = options.pop("limit", 2**16)
    protocol = SubprocessStreamProtocol(limit=limit, loop=loop)
    ready = loop.create_future()
    streams = {name: options.get(name) for name in ("stdin", "stdout", "stderr")}
    transport = _Transport(
        loop,
        protocol,
        arguments,
        False,
        **streams,
        bufsize=0,
        waiter=ready,
        env=env,
        cwd=options.get("cwd"),
    )
    await ready
    return Process(transport, protocol, loop)


class _Forker:
    """The process to fork from."""

    def __init__(self) -> None:
        from support.program import environment

        self.env = environment()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                stdin=DEVNULL, stdout=DEVNULL, env=self.env, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        atexit.register(self._end)

    def _end(self) -> None:
        self.socket.close()
        self._process.wait()


@cache
def _forker() -> _Forker:
    return _Forker()


def _at_start(env: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_AT_START)}


class _Child:
    """What asyncio asks of a Popen."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Any, *streams: Any):
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = None, None, None
        told = json.dumps([list(arguments), dict(env), str(cwd or Path.cwd())])
        self.told_fd, write_end = os.pipe()
        theirs: list[int] = []
        to_close = [write_end]
        for number, stream in enumerate(streams):
            fd = stream if isinstance(stream, int) else number if stream is None else None
            if stream == PIPE:
                ends = os.pipe()
                fd, ours = ends if number == 0 else ends[::-1]
                to_close.append(fd)
                mode = "wb" if number == 0 else "rb"
                setattr(self, ("stdin", "stdout", "stderr")[number], os.fdopen(ours, mode, 0))
            elif stream == DEVNULL:
                fd = os.open(os.devnull, os.O_RDWR)
                to_close.append(fd)
            elif stream == STDOUT:
                fd = theirs[1]
            theirs.append(stream.fileno() if fd is None else fd)
        try:
            socket.send_fds(_forker().socket, [told.encode()], [*theirs, write_end])
        finally:
            for fd in to_close:
                os.close(fd)
        self.pid = self.read_number()

    def read_number(self) -> int:
        """The next thing that is told of it."""
        [number] = NUMBER.unpack(os.read(self.told_fd, NUMBER.size))
        return int(number)

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Transport(base_subprocess.BaseSubprocessTransport):
    def _start(
        self, args: Any, shell: Any, stdin: Any, stdout: Any, stderr: Any, bufsize: Any, **how: Any
    ) -> None:
        self._proc: Any = _Child(args, how["env"], how["cwd"], stdin, stdout, stderr)
        self._loop.add_reader(self._proc.told_fd, self._ended)

    def _ended(self) -> None:
        fd = self._proc.told_fd
        self._loop.remove_reader(fd)
        status = self._proc.read_number()
        os.close(fd)
        self._process_exited(status)


def serve(ours: socket.socket) -> bool:
    """Fork for every request; returns True in a child, and False in the end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([ours.fileno(), read_end], [], [])
        if read_end in ready:
            os.read(read_end, 2**10)
            _tell_ends(running)
        if ours.fileno() not in ready:
            continue
        data, fds, _, _ = socket.recv_fds(ours, 8 * MOST_BYTES, 4)
        if not data:
            return False
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (ours.detach(), read_end, write_end, *running.values()):
                os.close(fd)
            _become(fds, *json.loads(data))
            return True
        running[child] = fds.pop()
        _tell(running[child], child)
        for fd in fds:
            os.close(fd)


def _tell_ends(running: dict[int, int]) -> None:
    """Tell the status of each child that has ended."""
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        fd = running.pop(child)
        _tell(fd, os.waitstatus_to_exitcode(status))
        os.close(fd)


def _tell(fd: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(fd, NUMBER.pack(number))


def _become(fds: Sequence[int], arguments: list[str], env: dict[str, str], cwd: str) -> None:
    """Be the program that has just been started so."""
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path.insert(0, cwd)
    sys.argv = [str(program.__file__), *arguments]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(getattr(sys, name), number, "w" if number else "r")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(like: Any, fd: int, mode: str) -> Any:
    stream: Any = os.fdopen(
        fd, mode, encoding=like.encoding, errors=like.errors, newline="\n", closefd=False
    )
    if fd == 2:
        stream.reconfigure(line_buffering=True)
    return stream


def preload() -> None:
    """Import all modules of the program, and what those import as they run."""
    for module in pkgutil.walk_packages(llmbatch_cli.__path__, "llmbatch_cli."):
        import_module(module.name)
    for name in SELDOM:
        with suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()


def run_as_script() -> None:
    """Serve until the tests have ended; a child runs the program instead."""
    preload()
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        is_child = serve(ours)
    if is_child:
        try:
            program.main()
        except SystemExit as end:
            _leave(end.code)


def _leave(status: Any) -> None:
    """Do what Python does at its end, but free nothing: that would copy all that is shared."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            status = 120
    os._exit(int(status or 0))


if __name__ == "__main__":
    run_as_script()
