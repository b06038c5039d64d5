"""Each fault alone: what the program makes of it, and that it costs no other row anything."""

import socket
import time
from pathlib import Path
from typing import Final

import pytest
from faults.harness import FaultServer, Ran, Row, batch, fault_server, ids
from faults.server import ASKED_WAIT_MS, ASKED_WAIT_S

MEBIBYTE: Final = 2**20
ROOM_BYTES: Final = 90 * MEBIBYTE
"""What the program may hold besides replies: it starts with 45 MiB."""
CAP_BYTES: Final = 64 * MEBIBYTE

OVERLOADED: Final = {
    "408": 408,
    "500": 500,
    "502": 502,
    "502-html": 502,
    "503": 503,
    "529": 529,
}
INTERRUPTED: Final = ("reset", "reset-amid", "closed", "cut")
WHOLE: Final = ("cut-chunk", "bad-utf8")
"""The answer is there all the same: the last chunk is missing, or a character is broken."""
BAD_REPLY: Final = {
    "bad-gzip": 200,
    "cut-gzip": 200,
    "bad-json": 200,
    "no-choices": 200,
    "empty": 200,
    "html": 200,
    "bad-http": None,
    "redirect": 307,
    "endless": 200,
    "10-gb": 200,
    "bomb": 200,
}
PASSING: Final = [
    *((fault, "overloaded", status) for fault, status in OVERLOADED.items()),
    *((fault, "interrupted", None) for fault in INTERRUPTED),
    *((fault, "bad_reply", status) for fault, status in BAD_REPLY.items()),
]
BROKEN_DOWN: Final = (408, 500, 502, 504, 520, 524)
"""By these a server has broken down with the work maybe done; by others it has refused it."""
HUGE: Final = ("endless", "10-gb", "bomb")


def told(row: Row) -> list[tuple[str, int | None]]:
    """The failed tries of an output row."""
    return [(one["type"], one["status"]) for one in row.get("failed_attempts", [])]


async def agrees(ran: Ran, server: FaultServer, names: list[str]) -> None:
    """One output row for each input row, each as often tried as the server was asked."""
    rows, counts = ran.by_id, await server.counts()
    assert sorted(rows) == sorted(names)
    assert {name: row["attempts"] for name, row in rows.items()} == counts.requests


@pytest.mark.parametrize(("fault", "kind", "status"), PASSING)
async def test_a_fault_that_may_pass_is_tried_again(
    tmp_path: Path, fault: str, kind: str, status: int | None
) -> None:
    """Lasting, it fails its row after all tries; passing, the row is answered; others go on."""
    names = ids(5)
    script = {"rows": {"row-0": [fault], "row-1": [fault, "ok"]}}
    async with fault_server(script, "--elsewhere", "http://127.0.0.1:1") as server:
        ran = await batch(tmp_path, names, server.url, "-c", "4", "--max-attempts", "2")
        await agrees(ran, server, names)
    rows = ran.by_id
    assert ran.status == 1
    lasting, passing = rows["row-0"], rows["row-1"]
    assert (lasting["error"]["type"], lasting["error"]["retryable"]) == (kind, True)
    assert told(lasting) == [(kind, status)] * 2
    assert (passing["text"], told(passing)) == ("row-1", [(kind, status)])
    assert [rows[name]["text"] for name in names[2:]] == names[2:]
    billed = status in BROKEN_DOWN or (
        kind != "overloaded" and fault not in ("redirect", "bad-http")
    )
    assert {one["maybe_billed"] for one in lasting["failed_attempts"]} == {billed}
    said = "3 failed attempts may have been billed; 1 row got no answer"
    assert (said in ran.err) == billed
    assert ran.peak_bytes < ROOM_BYTES + (2 * CAP_BYTES if fault in HUGE else 0)


async def test_an_answer_that_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    """What is paid for is kept, however the reply ends or is spoilt."""
    names = ids(len(WHOLE))
    script = {"rows": {name: [fault] for name, fault in zip(names, WHOLE, strict=True)}}
    async with fault_server(script) as server:
        ran = await batch(tmp_path, names, server.url)
        await agrees(ran, server, names)
    assert (ran.status, [row["attempts"] for row in ran.rows]) == (0, [1] * len(WHOLE))


async def test_a_bad_reply_is_tried_again_only_once(tmp_path: Path) -> None:
    """What was paid for and cannot be read is not paid for six times."""
    names = ids(3)
    async with fault_server({"rows": {"row-1": ["html"]}}) as server:
        ran = await batch(tmp_path, names, server.url, "--max-attempts", "6")
        await agrees(ran, server, names)
    assert ran.by_id["row-1"]["attempts"] == 2


@pytest.mark.parametrize(
    ("fault", "least_s"),
    [
        ("429-seconds", ASKED_WAIT_S),
        ("429-date", ASKED_WAIT_S),
        ("429-ms", ASKED_WAIT_MS / 1000),
        ("503-after", ASKED_WAIT_MS / 1000),
        ("429", 0.0),
    ],
)
async def test_a_server_that_asks_to_wait_is_obeyed(
    tmp_path: Path, fault: str, least_s: float
) -> None:
    """The next try comes after what the server asked for, in each of its forms, and soon then."""
    names = ids(4)
    async with fault_server({"rows": {"row-1": [fault, "ok"]}}) as server:
        ran = await batch(tmp_path, names, server.url, "-c", "4", "--max-attempts", "2")
        await agrees(ran, server, names)
        first, second = [moment for _, moment in (await server.counts()).log["row-1"]]
    assert ran.status == 0
    kind, status = ("overloaded", 503) if fault == "503-after" else ("rate_limited", 429)
    assert told(ran.by_id["row-1"]) == [(kind, status)]
    assert least_s <= second - first < least_s + 3


async def test_being_told_to_wait_uses_up_no_tries(tmp_path: Path) -> None:
    """Twice told to wait, a row with two tries is answered all the same."""
    names = ids(2)
    async with fault_server({"rows": {"row-1": ["429-ms", "429-ms", "ok"]}}) as server:
        ran = await batch(tmp_path, names, server.url, "--max-attempts", "2")
        await agrees(ran, server, names)
    assert ran.status == 0
    assert told(ran.by_id["row-1"]) == [("rate_limited", 429)] * 2


async def test_a_row_told_to_wait_until_its_time_is_over_tells_its_tries(tmp_path: Path) -> None:
    """The row's error is what kept it waiting, with how often."""
    names = ids(3)
    async with fault_server({"rows": {"row-1": ["429-ms"]}}) as server:
        ran = await batch(tmp_path, names, server.url, "--timeout", "1.5")
        await agrees(ran, server, names)
    row = ran.by_id["row-1"]
    error = row["error"]
    assert (ran.status, error["type"], error["status"]) == (1, "rate_limited", 429)
    assert f"({row['attempts']} tries in 1" in error["message"]
    assert error["retryable"]
    assert told(row) == [("rate_limited", 429)] * row["attempts"]


@pytest.mark.parametrize("fault", ["400", "404"])
async def test_a_rejected_row_is_sent_once(tmp_path: Path, fault: str) -> None:
    """What can never succeed is not tried again, and the others go on."""
    names = ids(4)
    async with fault_server({"rows": {"row-1": [fault]}}) as server:
        ran = await batch(tmp_path, names, server.url)
        await agrees(ran, server, names)
    error = ran.by_id["row-1"]["error"]
    assert (ran.status, error["type"], error["retryable"]) == (1, "rejected", False)
    assert ran.by_id["row-1"]["attempts"] == 1


@pytest.mark.parametrize(
    ("fault", "kind", "tries"), [("401", "unauthorized", 3), ("402", "out_of_quota", 1)]
)
async def test_a_refused_key_or_no_quota_stops_the_run(
    tmp_path: Path, fault: str, kind: str, tries: int
) -> None:
    """In the middle of a run: what was answered is kept, no further row is sent, exit 3, and
    once it is mended `--resume` sends the rest and nothing twice. A key that has answered is
    tried again twice."""
    names = ids(60 if tries == 1 else 34)
    script = {"rows": {"row-30": [fault] * tries + ["ok"]}, "wait_s": 0.02}
    async with fault_server(script) as server:
        ran = await batch(tmp_path, names, server.url, "-c", "4")
        counts = await server.counts()
        again = await batch(tmp_path, names, server.url, "-c", "4", "--resume")
        asked = (await server.counts()).requests
    assert (ran.status, again.status) == (3, 0)
    assert f"{kind} ({fault})" in ran.err
    assert sorted(ran.by_id) == sorted(set(counts.log) - {"row-30"})
    assert 30 <= len(ran.rows) < 40
    assert sorted(again.by_id) == sorted(names)
    assert asked == {name: tries + 1 if name == "row-30" else 1 for name in names}


@pytest.mark.parametrize("fault", ["headers-only", "drip", "never"])
async def test_silence_ends_with_the_rows_time(tmp_path: Path, fault: str) -> None:
    """A server that says nothing, or next to nothing, holds a row for --timeout and no longer."""
    names = ids(4)
    async with fault_server({"rows": {"row-1": [fault]}}) as server:
        ran = await batch(tmp_path, names, server.url, "--timeout", "1")
        await agrees(ran, server, names)
        assert (await server.counts()).hung_up == 1
    row = ran.by_id["row-1"]
    assert (ran.status, row["error"]["type"], row["error"]["retryable"]) == (1, "timed_out", True)
    assert told(row) == [("timed_out", None)]
    assert 1 <= row["latency"] < 3
    assert "1 failed attempt may have been billed; 1 row got no answer" in ran.err


async def test_the_wait_for_a_limit_is_not_the_rows_time(tmp_path: Path) -> None:
    """Rows that are held for longer than --timeout before they are sent are answered, and
    neither limit nor time shows in their latency."""
    names = ids(8)
    async with fault_server({}) as server:
        ran = await batch(tmp_path, names, server.url, "-c", "8", "--rpm", "240", "--timeout", "1")
        await agrees(ran, server, names)
    assert ran.status == 0
    assert all(row["latency"] < 0.7 for row in ran.rows)


async def test_a_refused_connection_is_not_billed(tmp_path: Path) -> None:
    """Nobody listens: every row fails as unreachable after its tries, and the run ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    names = ids(3)
    ran = await batch(tmp_path, names, FaultServer(port).url, "--max-attempts", "2")
    assert (ran.status, sorted(ran.by_id)) == (1, names)
    for row in ran.rows:
        assert told(row) == [("unreachable", None)] * 2
        assert not any(one["maybe_billed"] for one in row["failed_attempts"])
    assert "billed" not in ran.err


async def test_a_server_that_is_slow_to_accept_is_waited_for(tmp_path: Path) -> None:
    """Connections that lie in its backlog are served when it comes to them, each row once."""
    names = ids(20)
    async with fault_server(None, "--accept-after", "2") as server:
        began = time.monotonic()
        ran = await batch(tmp_path, names, server.url, "-c", "10")
        await agrees(ran, server, names)
    assert ran.status == 0
    assert time.monotonic() - began > 1
    assert {row["attempts"] for row in ran.rows} == {1}


@pytest.mark.parametrize("fault", ["wrong-type", "gzipped"])
async def test_a_good_answer_in_another_wrapping_is_taken(tmp_path: Path, fault: str) -> None:
    """The content type is not believed, the content is; compression is undone."""
    names = ids(3)
    async with fault_server({"default": [fault]}) as server:
        ran = await batch(tmp_path, names, server.url)
        await agrees(ran, server, names)
    assert (ran.status, [ran.by_id[name]["text"] for name in names]) == (0, names)


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """Neither the key nor the prompt goes to where a reply points."""
    async with fault_server() as elsewhere:
        address = elsewhere.url.removesuffix("/v1")
        async with fault_server({"default": ["redirect"]}, "--elsewhere", address) as server:
            ran = await batch(tmp_path, ids(2), server.url, "--max-attempts", "2")
        seen = await elsewhere.counts()
    assert ran.status == 1
    for row in ran.rows:
        assert f"the server redirects to {address}" in row["error"]["message"]
    assert (seen.log, seen.keys, seen.connections) == ({}, [], 1)
