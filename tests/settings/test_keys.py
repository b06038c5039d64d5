"""`llmbatch keys`: kept where nobody else reads them, used where the environment has none."""

import asyncio
import os
import stat
import sys
from io import FileIO
from pathlib import Path

import pytest
from support.chat import echo
from support.program import jsonl, start
from support.scripted import serve
from support.settings import Home

KEY = "sk-secret-0123456789"
OTHER = "sk-other-9876543210"
ROW = jsonl(["hi"])

BACKEND = f"""
import json
from pathlib import Path
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

FILE = Path(__file__).with_name("ring.json")


class Keyring(KeyringBackend):
    priority = 5

    def _all(self):
        if FILE.with_name("locked").exists():
            raise KeyringLocked("{KEY}")
        return json.loads(FILE.read_text()) if FILE.exists() else {{}}

    def get_password(self, service, username):
        return self._all().get(f"{{service}}/{{username}}")

    def set_password(self, service, username, password):
        FILE.write_text(json.dumps({{**self._all(), f"{{service}}/{{username}}": password}}))

    def delete_password(self, service, username):
        found = self._all()
        if found.pop(f"{{service}}/{{username}}", None) is None:
            raise PasswordDeleteError("gone")
        FILE.write_text(json.dumps(found))
"""


@pytest.fixture
def ring(home: Home, tmp_path: Path) -> dict[str, str]:
    """The variables of a system with a keyring."""
    (tmp_path / "ring.py").write_text(BACKEND)
    return {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "ring.Keyring"}


async def sent_key(home: Home, *words: str, env: dict[str, str] | None = None) -> str | None:
    """The key that a run has sent to groq's address, or what it said."""
    async with serve(echo) as server:
        moved = {"GROQ_BASE_URL": f"{server.url}/v1", **(env or {})}
        done = await home.run("batch", "-m", "groq/m", "-q", *words, stdin=ROW, env=moved)
        assert KEY not in done.out.decode() + done.err
        if not server.exchanges:
            return done.err
        return (server.exchanges[0].header("authorization") or "").removeprefix("Bearer ")


async def test_a_key_is_kept_in_a_file_of_ones_own(home: Home) -> None:
    """Read from standard input, never shown; used in runs; the environment wins; forgotten."""
    done = await home.run("keys", "set", "groq", stdin=f"{KEY}\n".encode())
    assert (done.status, done.out) == (0, b"")
    assert done.err == f"llmbatch: the key for groq is kept in {home.keys}\n"
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o600
    assert await sent_key(home) == KEY
    assert await sent_key(home, "--no-key") == ""
    assert await sent_key(home, env={"GROQ_API_KEY": OTHER}) == OTHER
    done = await home.run("keys", "list")
    assert done.out.decode().split() == ["groq", str(home.keys)]
    done = await home.run("keys", "remove", "groq")
    assert (done.status, done.err) == (
        0, f"llmbatch: the key for groq is no longer kept in {home.keys}\n"
    )  # fmt: skip
    assert KEY not in home.keys.read_text()
    done = await home.run("keys", "list")
    assert (done.out, done.err) == (
        b"", "llmbatch: no key is set: llmbatch keys set PROVIDER keeps one\n"
    )  # fmt: skip
    done = await home.run("keys", "list", "openai")
    assert done.err == "llmbatch: no key for openai is set: llmbatch keys set openai keeps one\n"
    assert (await home.run("keys", "list", "--json")).err == ""


async def test_a_second_variable_of_the_provider_wins_too(home: Home) -> None:
    """CO_API_KEY over a kept key, which would stand for COHERE_API_KEY."""
    await home.run("keys", "set", "cohere", stdin=KEY.encode())
    rows = {}
    for env in ({}, {"CO_API_KEY": OTHER}):
        done = await home.run("providers", "--json", env=env)
        rows[len(env)] = next(row for row in done.rows if row["provider"] == "cohere")
    assert (rows[0]["key_set"], rows[0]["key_variable"], rows[0]["key_stored"]) == (
        True,
        None,
        True,
    )
    assert (rows[1]["key_variable"], "key_stored" in rows[1]) == ("CO_API_KEY", False)
    done = await home.run("keys", "list", "--json", env={"CO_API_KEY": OTHER})
    assert done.rows == [
        {"provider": "cohere", "variable": "CO_API_KEY", "kept_in": str(home.keys)}
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such modes")
async def test_a_file_that_others_can_read_is_refused(home: Home) -> None:
    """By runs that would use it, and by `keys`; not by a run that needs no key of it."""
    await home.run("keys", "set", "groq", stdin=KEY.encode())
    home.keys.chmod(0o640)
    said = await sent_key(home)
    assert said is not None
    assert "others can read it (mode 0640)" in said
    assert f"chmod 600 {home.keys}" in said
    done = await home.run("keys", "set", "openai", stdin=OTHER.encode())
    assert (done.status, OTHER in home.keys.read_text()) == (2, False)
    assert await sent_key(home, env={"GROQ_API_KEY": OTHER}) == OTHER
    assert (await home.run("batch", "-m", "fake/echo", stdin=ROW)).status == 0
    assert (await home.run("providers")).status == 0


async def test_the_systems_keyring_is_used_where_there_is_one(
    home: Home, ring: dict[str, str], tmp_path: Path
) -> None:
    """The file beside the settings has the provider's name alone."""
    done = await home.run("keys", "set", "groq", stdin=KEY.encode(), env=ring)
    assert done.err == "llmbatch: the key for groq is kept in the system's keyring\n"
    assert KEY not in home.keys.read_text()
    assert KEY in (tmp_path / "ring.json").read_text()
    assert await sent_key(home, env=ring) == KEY
    done = await home.run("keys", "list", env=ring)
    assert done.out.decode() == "groq".ljust(done.out.index(b"the")) + "the system's keyring\n"
    (tmp_path / "locked").touch()
    said = str(await sent_key(home, env=ring))
    assert "the system's keyring refuses the key for groq: KeyringLocked" in said
    (tmp_path / "locked").unlink()
    assert "cannot be reached" in str(await sent_key(home))
    (tmp_path / "ring.json").unlink()
    assert "has lost the key for groq" in str(await sent_key(home, env=ring))
    assert (await home.run("keys", "remove", "groq", env=ring)).status == 0


async def test_the_keyring_is_imported_only_where_a_key_is_in_it(
    home: Home, ring: dict[str, str]
) -> None:
    """Not for a key of the environment, nor for another provider."""
    await home.run("keys", "set", "groq", stdin=KEY.encode(), env=ring)
    ring["PYTHON_KEYRING_BACKEND"] = "no.such.Backend"  # would raise on import
    assert await sent_key(home, env={**ring, "GROQ_API_KEY": OTHER}) == OTHER
    for words in (("batch", "-m", "fake/echo", "-q"), ("providers",), ("keys", "list")):
        assert (await home.run(*words, stdin=ROW, env=ring)).status == 0


async def test_keys_are_kept_for_hosts_of_ones_own(home: Home) -> None:
    async with serve(echo) as server:
        home.write(f'[hosts.mine]\nbase_url = "{server.url}"\nkey_variable = "GATE"\n')
        await home.run("keys", "set", "mine", stdin=KEY.encode())
        done = await home.run("batch", "-m", "mine/m", "-q", stdin=ROW)
        assert done.status == 0, done.err
        assert server.exchanges[0].header("authorization") == f"Bearer {KEY}"


async def test_a_refused_key_is_looked_for_where_it_is(home: Home) -> None:
    await home.run("keys", "set", "groq", stdin=KEY.encode())

    async with serve(lambda exchange: exchange.reply(b"{}", 401)) as server:
        env = {"GROQ_BASE_URL": f"{server.url}/v1"}
        done = await home.run("batch", "-m", "groq/m", stdin=ROW, env=env)
    assert done.status == 3
    assert f"check the key in {home.keys} (llmbatch keys set groq)" in done.err


async def test_two_keys_of_two_providers(home: Home) -> None:
    for name in ("groq", "openai"):
        await home.run("keys", "set", name, stdin=KEY.encode())
    done = await home.run("keys", "list", "--json")
    assert [row["provider"] for row in done.rows] == ["openai", "groq"]
    done = await home.run("keys", "list", "openai", "--json")
    assert [row["provider"] for row in done.rows] == ["openai"]


WRONG = {
    ("set", "groq", KEY): (b"", "a key is not given as an argument"),
    ("set", "gorq"): (KEY.encode(), "did you mean groq"),
    ("set", "fake"): (KEY.encode(), "no provider 'fake' that takes a key"),
    ("set",): (KEY.encode(), "set needs a PROVIDER"),
    ("set", "openai"): (b"  \n", "no key for openai was entered"),
    ("set", "mistral"): (b"sk-1 sk-2", "has characters that no key has: what was entered"),
    ("remove", "groq"): (b"", "no key for 'groq' is kept here"),
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
async def test_what_is_wrong_is_said_without_the_key(home: Home, words: tuple[str, ...]) -> None:
    stdin, said = WRONG[words]
    done = await home.run("keys", *words, stdin=stdin)
    assert (done.status, done.out) == (2, b"")
    assert said in done.err
    assert "sk-" not in done.err
    assert not home.keys.exists()


async def test_a_file_that_holds_no_keys_is_an_error_that_does_not_quote_it(home: Home) -> None:
    home.write("")
    for text in (f"{{{KEY}", f'["{KEY}"]', f'{{"groq": ["{KEY}"]}}'):
        home.keys.write_text(text)
        home.keys.chmod(0o600)
        done = await home.run("keys", "list")
        assert done.status == 2
        assert "is no file of keys" in done.err
        assert KEY not in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_at_a_terminal_the_key_is_asked_for_and_not_shown(home: Home) -> None:
    ours, theirs = os.openpty()
    process = await start(
        "keys", "set", "groq", env=home.env, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    with open(ours, "r+b", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        shown = await asyncio.to_thread(_until, terminal, b"shown): ")
        terminal.write(f"{KEY}\n".encode())
        shown += await asyncio.to_thread(_until, terminal, b"keys.json")
    assert await process.wait() == 0
    assert b"Key for groq" in shown
    assert KEY.encode() not in shown
    assert KEY in home.keys.read_text()


def _until(terminal: FileIO, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        seen += terminal.read(1_000)
    return seen
