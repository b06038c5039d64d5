"""What the benchmark's figures rest on: servers that answer, costs that are right, honest loops."""

import http.client
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from bench.measure import RunFailedError, run_process
from bench.peers import PINS, peer_python
from bench.programs import Bench, count_lines
from bench.servers import (
    REPLY,
    Server,
    delayed_server,
    find_nginx,
    instant_server,
    nginx_server,
)
from bench.table import Figure, Section, at_least, at_most, missed, render

Serve = Callable[[Path], AbstractContextManager[Server]]


def asyncio_server(folder: Path) -> AbstractContextManager[Server]:
    return delayed_server(folder, 0.0)


def system_nginx(folder: Path) -> AbstractContextManager[Server]:
    nginx = find_nginx()
    if nginx is None:
        pytest.skip("nginx is not installed")
    return nginx_server(folder, nginx)


def post(connection: http.client.HTTPConnection, size: int) -> bytes:
    connection.request("POST", "/v1/chat/completions", body=b"x" * size)
    return connection.getresponse().read()


@pytest.mark.parametrize("serve", [asyncio_server, system_nginx])
def test_every_request_of_a_kept_connection_is_answered(serve: Serve, tmp_path: Path) -> None:
    """Requests small, large and empty each get the whole reply on one connection."""
    with serve(tmp_path) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        replies = [post(connection, size) for size in (100, 200_000, 0, 1)]
        connection.close()
    assert replies == [REPLY.encode()] * 4


def test_a_delayed_answer_takes_its_delay(tmp_path: Path) -> None:
    """An answer never comes before the delay is over."""
    with delayed_server(tmp_path, 0.2) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        started = time.perf_counter()
        post(connection, 10)
        took_s = time.perf_counter() - started
        connection.close()
    assert took_s >= 0.2


def test_a_server_with_tls_is_trusted_by_its_environment(tmp_path: Path) -> None:
    """A program that is given the server's environment, and only it, gets its answers by https."""
    with delayed_server(tmp_path, 0.0, tls=True) as server:
        ask = f"import urllib.request as u; print(u.urlopen({server.base_url!r}).read().decode())"
        run = run_process([sys.executable, "-c", ask], limit_s=30, extra_env=server.environment)
    assert server.base_url.startswith("https://")
    assert run.stdout.decode().strip() == REPLY


@pytest.mark.parametrize("serve", [asyncio_server, system_nginx])
def test_the_server_ends_with_its_block(serve: Serve, tmp_path: Path) -> None:
    """A failure inside the block leaves no server behind."""
    with pytest.raises(ZeroDivisionError), serve(tmp_path) as server:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=10).connect()


def test_a_run_is_charged_what_it_used() -> None:
    """CPU, wall time and memory are those of the process that was run."""
    busy = "import time; b = bytearray(200_000_000); t = time.process_time()\n"
    busy += "while time.process_time() - t < 0.3: pass"
    run = run_process([sys.executable, "-c", busy], limit_s=30)
    assert run.wall_s >= run.cpu_s * 0.9
    assert run.cpu_s >= 0.3
    assert run.peak_bytes > 200e6  # at the least: a child begins as large as its parent


def test_a_failed_run_says_why() -> None:
    """A program that fails is no measurement: its status and last words are raised."""
    with pytest.raises(RunFailedError, match=r"(?s)ended with 1.*no such luck"):
        run_process([sys.executable, "-c", "raise SystemExit('no such luck')"], limit_s=30)


def test_a_run_is_ended_at_its_limit() -> None:
    """A program that hangs is killed, so that the benchmark ends."""
    with pytest.raises(RunFailedError, match="ended with -9"):
        run_process([sys.executable, "-c", "import time; time.sleep(60)"], limit_s=0.3)


def answers_of(peer: str, folder: Path, rows: Path) -> list[str]:
    """The lines that a peer's loop writes, in its own environment, which must be there."""
    python = peer_python(peer) if peer in PINS else Path(sys.executable)
    if not python.exists():
        pytest.skip("make bench-peers makes its environment")
    answers = folder / "answers.jsonl"
    with instant_server(folder) as server:
        loop = Path(__file__).with_name("peer_loops.py")
        command = [str(python), str(loop), peer, str(rows), str(answers)]
        run_process([*command, server.base_url, "8"], limit_s=60)
    return answers.read_text().splitlines()


@pytest.mark.parametrize("peer", ["bare client", "aiohttp", "httpx", "saturate"])
def test_a_loop_answers_every_row_once(peer: str, tmp_path: Path) -> None:
    """The loops do the whole work that they are compared by: one line a row, with its text."""
    lines = [json.loads(line) for line in answers_of(peer, tmp_path, Bench(tmp_path).rows(50))]
    assert sorted(line["index"] for line in lines) == list(range(50))
    assert {line["text"] for line in lines} == {
        json.loads(REPLY)["choices"][0]["message"]["content"]
    }


def test_bare_sockets_get_every_reply_whole(tmp_path: Path) -> None:
    """What is said to be the most that the server can do has had an answer to each row."""
    assert answers_of("sockets", tmp_path, Bench(tmp_path).rows(50)) == [REPLY] * 50


def test_rows_are_made_as_many_as_asked(tmp_path: Path) -> None:
    """The input has the number of rows that the figures are divided by."""
    assert count_lines(Bench(tmp_path).rows(1_234)) == 1_234


def test_the_table_shows_every_figure_and_names_what_is_missed() -> None:
    """A bound itself is met, past it is MISSED, and what was not measured misses nothing."""
    figures = [
        Figure("on the bound", 0.75, "x", at_least(0.75)),
        Figure("over the bound", 101, "MB", at_most(100)),
        Figure("never run", None, "x", at_least(40)),
        Figure("no target", 12_345, "prompts/s"),
    ]
    section = Section("some", "title", figures)
    lines = {line.split("  ")[1]: line for line in render([section]).splitlines()[3:7]}
    assert lines["on the bound"].endswith(">= 0.75  met")
    assert lines["over the bound"].endswith("<= 100   MISSED")
    assert lines["never run"].endswith("not measured")
    assert "12,345" in lines["no target"]
    assert [missed([Section("", "", [figure])]) for figure in figures] == [
        False,
        True,
        False,
        False,
    ]
