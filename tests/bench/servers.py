"""The server that a benchmark talks to: its own process, a free loopback port, ended at the end."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0
ASYNCIO_SERVER = Path(__file__).with_name("asyncio_server.py")
LIMITS_SERVER = Path(__file__).with_name("limits_server.py")
QUEUEING_SERVER = Path(__file__).with_name("queueing_server.py")
CERTIFICATES = Path(__file__).parents[1] / "support" / "certificates.py"
RACE_SERVER = Path(__file__).parents[1] / "support" / "race_server.py"
REPLY = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "The capital of France is Paris, a city on the Seine whose history "
                    "goes back more than two thousand years.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 24, "completion_tokens": 22, "total_tokens": 46},
        "system_fingerprint": "fp_0123456789",
        "service_tier": "default",
    }
)

NGINX_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '{reply}'; }}
    }}
}}
"""


class ServerFailedError(Exception):
    """The server did not come up; the text says what it printed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers now."""

    name: str
    """What serves, for the table: `nginx/1.22.1`, or `asyncio on uvloop`."""
    port: int
    pem_file: Path | None = None
    """Its certificate, where it speaks https."""

    @property
    def base_url(self) -> str:
        """The address that an OpenAI client is given."""
        scheme = "https" if self.pem_file else "http"
        return f"{scheme}://127.0.0.1:{self.port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a client trust it."""
        return {"SSL_CERT_FILE": str(self.pem_file)} if self.pem_file else {}


@contextmanager
def instant_server(folder: Path) -> Iterator[Server]:
    """A server that answers at once: nginx where it is installed, asyncio elsewhere."""
    nginx = find_nginx()
    serving = delayed_server(folder, 0.0) if nginx is None else nginx_server(folder, nginx)
    with serving as server:
        yield server


@contextmanager
def delayed_server(folder: Path, delay_s: float, *, tls: bool = False) -> Iterator[Server]:
    """A server that answers `delay_s` after a request is whole: always the asyncio one."""
    reply = folder / "reply.json"
    reply.write_text(REPLY)
    command = [sys.executable, str(ASYNCIO_SERVER), str(reply), str(delay_s)]
    pem_file = _certificate(folder) if tls else None
    with _port_of([*command, str(pem_file)] if pem_file else command) as port:
        yield Server("asyncio on uvloop", port, pem_file)


def _certificate(folder: Path) -> Path:
    """By a process of its own: the harness is to stay small, see measure.Run.peak_bytes."""
    pem_file = folder / "loopback.pem"
    command = [sys.executable, str(CERTIFICATES), str(pem_file)]
    subprocess.run(command, check=True, timeout=START_LIMIT_S)
    return pem_file


@contextmanager
def named_delays_server() -> Iterator[Server]:
    """A server whose models `after-SECONDS` answer as late as their names say."""
    with _port_of([sys.executable, str(RACE_SERVER)]) as port:
        yield Server("asyncio", port)


@contextmanager
def limits_server(law: dict[str, Any]) -> Iterator[Server]:
    """A server with an account's limits, see limits_server.py."""
    with _port_of([sys.executable, str(LIMITS_SERVER), json.dumps(law)]) as port:
        yield Server("asyncio", port)


@contextmanager
def queueing_server(server: dict[str, Any]) -> Iterator[Server]:
    """A server that queues, see queueing_server.py."""
    with _port_of([sys.executable, str(QUEUEING_SERVER), json.dumps(server)]) as port:
        yield Server("asyncio", port)


@contextmanager
def _port_of(command: list[str]) -> Iterator[int]:
    """The port that a Python server prints, while it serves."""
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = process.stdout.readline()
        if not port:
            raise ServerFailedError(f"{Path(command[1]).name} ended with {process.wait()}")
        yield int(port)


@contextmanager
def nginx_server(folder: Path, nginx: str) -> Iterator[Server]:
    """One nginx process, with nothing of the system's configuration."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(folder=folder, port=port, reply=REPLY))
    with _process([nginx, "-p", str(folder), "-e", "stderr", "-c", str(config)]) as process:
        _wait_until_open(port, process)
        yield Server(_nginx_version(nginx), port)


def find_nginx() -> str | None:
    """The nginx of the system's packages, which sits where a plain user's PATH does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nginx_version(nginx: str) -> str:
    shown = subprocess.run([nginx, "-v"], capture_output=True, text=True, timeout=STOP_LIMIT_S)
    found = re.search(r"nginx/[\d.]+", shown.stderr)
    return found[0] if found else "nginx"


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise ServerFailedError(f"{process.args!r} does not listen on port {port}")


@contextmanager
def _process(command: list[str], stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout)
    try:
        with process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(STOP_LIMIT_S)
    finally:
        process.kill()
