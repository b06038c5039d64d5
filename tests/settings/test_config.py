"""`llmbatch config`: what it shows, and what it writes."""

import json
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.settings import Home

from llmbatch_cli.cli.commands import COMMANDS, WITHOUT_OPTIONS
from llmbatch_cli.cli.config_command import TEMPLATE, all_options
from llmbatch_cli.cli.options import declared_by
from llmbatch_cli.settings.change import keys_of, set_value, unset
from llmbatch_cli.settings.read import read
from llmbatch_cli.settings.source import Source

SECRET = "sk-secret-0123456789"


async def shown(home: Home, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What `config show --json` says: by name, the value and the source."""
    done = await home.run("config", "show", "--json", *words, env=env)
    assert done.status == 0, done.err
    return {row["name"]: (row["value"], row["source"]) for row in done.rows}


async def test_show_says_where_each_value_is_from(home: Home) -> None:
    """A line of the file, a variable of the environment, or the default."""
    assert await shown(home) == {"model": ("local/smollm2", "default")}
    home.write(
        'model = "gpt-4o"\n[batch]\nmax-tokens = 5\nmodel = "gpt-5"\n'
        '[providers.groq]\nbase_url = "https://a/v1"\n'
    )
    env = {"GROQ_BASE_URL": f"https://me:{SECRET}@b/v1?x={SECRET}", "LLMBATCH_MODEL": "o3"}
    file = str(home.config)
    assert await shown(home, env=env) == {
        "model": ("o3", f"LLMBATCH_MODEL, over {file}:1"),
        "batch.model": ("o3", f"LLMBATCH_MODEL, over {file}:4"),
        "batch.max-tokens": (5, f"{file}:3"),
        "providers.groq.base_url": ("https://b/v1", f"GROQ_BASE_URL, over {file}:6"),
    }
    everything = await shown(home, "--all")
    assert everything["batch.max-tokens"] == (5, f"{file}:3")
    assert everything["batch.max-attempts"] == (6, "default")
    assert everything["race.concurrency"][0] is None
    assert everything["race.concurrency"][1].startswith("default: found while running")
    assert await shown(home, "batch.max-attempts") == {"batch.max-attempts": (6, "default")}
    assert set(await shown(home, "providers")) == {"providers.groq.base_url"}


async def test_show_is_for_people_too(home: Home) -> None:
    home.write("# mine\n[batch]\nconcurrency = 50\n")
    done = await home.run("config", "show")
    assert done.out.decode() == (
        f'model = "local/smollm2"  # default\nbatch.concurrency = 50   # {home.config}:3\n'
    )


async def test_show_names_what_is_nearest(home: Home) -> None:
    done = await home.run("config", "show", "batch.concurency")
    assert done.status == 2
    assert "did you mean batch.concurrency" in done.err


async def test_show_never_shows_a_secret(home: Home) -> None:
    """Headers, what looks like a key, and what is called like one."""
    header = f'extra_headers={{"x-gate": "{SECRET[3:]}"}}'
    home.write(
        f"[aliases]\na = 'gpt-4o?{header}'\n[batch]\nparam = ['{header}', 'user={SECRET}']\n"
        f"[providers.groq.headers]\nx-gate = '{SECRET[3:]}'\n"
        f"[hosts.mine]\nbase_url = 'http://a?token={SECRET[3:]}'\nheaders = {{a = 'secret-012'}}\n"
    )
    for words in ((), ("--all", "--json")):
        done = await home.run("config", "show", *words)
        assert done.status == 0, done.err
        assert "secret-012" not in done.out.decode() + done.err
    assert (await shown(home))["providers.groq.headers.x-gate"][0] == "***"


def test_set_writes_what_can_be_read(home: Home) -> None:
    """Each value as TOML or as plain text, whichever fits."""
    environ, options = {"LLMBATCH_CONFIG": str(home.config)}, all_options()
    values = {
        "model": ("gpt-4o", "gpt-4o"),
        "aliases.fast.one": ("gpt-4o?seed=1", "gpt-4o?seed=1"),
        "aliases.5": ("5", "5"),
        "batch.concurrency": ("50", 50),
        "batch.max-errors": ("5%", "5%"),
        "batch.stop": ('["a", "b"]', ["a", "b"]),
        "batch.ordered": ("true", True),
        "batch.cache": ("answers.db", "answers.db"),
        "prices.gpt-4.1": ("[2, 8]", [2, 8]),
        "providers.groq.headers.x-team": ("a b", "a b"),
        "hosts.mine.base_url": ("http://localhost:1/v1", "http://localhost:1/v1"),
        "hosts.mine.statuses.498": ("overloaded", "overloaded"),
    }
    for name, (text, _) in values.items():
        set_value(name, text, environ, lambda source: read(source, options))
    tree = tomllib.loads(home.config.read_text())
    assert tree["aliases"] == {"fast.one": "gpt-4o?seed=1", "5": "5"}
    assert tree["batch"] == {
        "concurrency": 50, "max-errors": "5%", "stop": ["a", "b"], "ordered": True,
        "cache": "answers.db",
    }  # fmt: skip
    assert tree["prices"] == {"gpt-4.1": [2, 8]}
    assert tree["hosts"]["mine"]["statuses"] == {"498": "overloaded"}
    if sys.platform != "win32":
        assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.config.parent.stat().st_mode) == 0o700


COMMENTED = """\
# who pays
[batch]  # every day
concurrency = 5  # not more
# rpm = 3

[race]
hedge = "p95"
"""


async def test_set_and_unset_keep_comments_mode_and_links(home: Home) -> None:
    home.write("")
    real = home.folder.parent / "dotfiles.toml"
    real.write_text(COMMENTED)
    real.chmod(0o640)
    home.config.unlink()
    home.config.symlink_to(real)
    await home.run("config", "set", "batch.concurrency", "9")
    await home.run("config", "set", "model", "gpt-4o")
    await home.run("config", "unset", "race.hedge")
    text = real.read_text()
    assert tomllib.loads(text) == {"model": "gpt-4o", "batch": {"concurrency": 9}}
    for comment in ("# who pays", "# every day", "# not more", "# rpm = 3"):
        assert comment in text
    assert home.config.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert list(home.config.parent.iterdir()) == [home.config]


REFUSED = {
    ("set", "batch.concurrency", "many"): ("batch.concurrency must be a whole number", "hint"),
    ("set", "batch.concurency", "5"): ("unknown setting batch.concurency", "did you mean"),
    ("set", "providers.groq.api_key", SECRET): ("keys are not kept", "llmbatch keys set groq"),
    ("set", "batch", "5"): ("batch must be a table", ""),
    ("set", "a b", "5"): ("'a b' is not the name of a setting", "as in model"),
    ("set", "hosts.mine.rpm", "5"): ("hosts.mine has no base_url", "as in base_url"),
    ("set", "model"): ("set needs a NAME and a VALUE", "config set batch.concurrency 50"),
    ("unset",): ("unset needs a NAME", "config unset"),
    ("unset", "race.hegde"): ("race.hegde is not set in", "did you mean race.hedge?"),
    ("path", "x"): ("path takes no NAME", ""),
    ("edit",): ("an editor needs a terminal", "config set"),
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
async def test_what_is_refused_changes_nothing(home: Home, words: tuple[str, ...]) -> None:
    message, hint = REFUSED[words]
    home.write(COMMENTED)
    done = await home.run("config", *words, env={"EDITOR": "", "VISUAL": ""})
    assert (done.status, done.out) == (2, b"")
    assert message in done.err
    assert hint in done.err
    assert SECRET not in done.err
    assert home.config.read_text() == COMMENTED


async def test_a_wrong_value_can_be_set_right(home: Home) -> None:
    """What is wrong elsewhere is said with its line."""
    home.write("[batch]\nconcurrency = 0\nrpm = 0\n")
    done = await home.run("config", "set", "batch.concurrency", "5")
    assert (done.status, "config.toml:3: batch.rpm" in done.err) == (2, True)
    home.write("[batch]\nconcurrency = 0\n")
    assert (await home.run("config", "set", "batch.concurrency", "5")).status == 0


async def test_edit_opens_the_editor_and_checks_what_it_left(home: Home, tmp_path: Path) -> None:
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\nprintf "[batch]\\nrpm = 0\\n" >> "$2"\n')
    editor.chmod(0o755)
    done = await home.run("config", "edit", env={"VISUAL": f"'{editor}' --wait"})
    assert home.config.read_text() == f"{TEMPLATE}[batch]\nrpm = 0\n"
    assert done.status == 2
    assert "batch.rpm must be at least 0.01" in done.err
    done = await home.run("config", "edit", env={"VISUAL": "no-such-editor"})
    assert "cannot run the editor 'no-such-editor'" in done.err
    done = await home.run("config", "edit", env={"VISUAL": "false"})
    assert "has failed (exit status 1)" in done.err


async def test_path_is_where_the_file_is(home: Home) -> None:
    done = await home.run("config", "path")
    assert done.out.decode() == f"{home.config}\n"
    done = await home.run("config", "path", env={"LLMBATCH_CONFIG": "a.toml"})
    assert done.out == b"a.toml\n"


def test_what_a_new_file_shows_is_valid() -> None:
    """Each line of the template, without its #."""
    text = "\n".join(line.removeprefix("# ") for line in TEMPLATE.splitlines()[1:])
    found = read(Source(Path("new.toml"), text), all_options())
    assert (found.model, found.options["batch"]) == ("gpt-4o-mini", {"concurrency": 50})


def test_the_commands_without_options_are_those() -> None:
    """Every other command has a table in the file, with options."""
    from importlib import import_module

    for name, module in COMMANDS.items():
        function = getattr(import_module(f"llmbatch_cli.cli.{module}"), name)
        assert bool(declared_by(function)) is (name not in WITHOUT_OPTIONS), name


def test_an_option_is_one_field_in_its_table() -> None:
    """Two flags never share a name, nor two fields."""
    for options in all_options().values():
        assert len({one.name for one in options.values()}) == len(options)
    assert (
        json.dumps(sorted(all_options()))
        == '["batch", "cluster", "errors", "estimate", "jobs", "models", "preview", "pull", "race"]'
    )


@pytest.mark.parametrize(
    "text",
    [
        "batch.rpm = 5\n",
        'hosts = { a = { base_url = "http://a" } }  # c\n',
        '[hosts.a]\nbase_url = "http://a"\n\n[batch]\nrpm = 1\n\n[hosts.b]\nbase_url = "http://b"\n',
        "# only\r\n[batch]\r\nrpm = 1 # x\r\n",
        "[batch]\nrpm = 1",
    ],
    ids=["dotted", "inline", "apart", "crlf", "no newline"],
)
@pytest.mark.parametrize("name", ["batch.tpm", "hosts.a.headers.x", "providers.groq.rpm", "model"])
def test_any_layout_of_the_file_can_be_changed_and_changed_back(
    home: Home, text: str, name: str
) -> None:
    home.write("")
    home.config.write_bytes(text.encode())
    environ = {"LLMBATCH_CONFIG": str(home.config)}
    set_value(name, "7", environ, lambda source: None)
    found: Any = tomllib.loads(home.config.read_text())
    for key in keys_of(name):
        found = found[key]
    assert str(found) == "7"
    unset(name, environ, lambda source: None)
    assert tomllib.loads(home.config.read_text()) == tomllib.loads(text)


async def test_what_was_not_written_has_no_line(home: Home) -> None:
    """Also where the table around the value is what is wrong; what was wrong before has one."""
    home.write("[batch]\nmax-tokens = 5\n")
    done = await home.run("config", "set", "hosts.openai.base_url", "http://gpu:8000/v1")
    assert done.status == 2
    assert "error: hosts.openai: openai is a provider already; nothing was changed" in done.err
    home.write('[batch]\nmodle = "m"\n')
    done = await home.run("config", "set", "batch.max-tokens", "5")
    assert f"error: {home.config}:2: unknown setting batch.modle" in done.err
    assert "nothing was changed" not in done.err


async def test_a_price_is_set_as_the_option_takes_it(home: Home) -> None:
    """0.15,0.60, or as in TOML; nothing else with a comma becomes a list."""
    for text in ("0.15,0.60", "[0.15, 0.60]"):
        done = await home.run("config", "set", "prices.gpt-4.1", text)
        assert done.status == 0, done.err
        assert tomllib.loads(home.config.read_text()) == {"prices": {"gpt-4.1": [0.15, 0.6]}}
    assert (await home.run("config", "set", "aliases.a", "1,2")).status == 0
    assert tomllib.loads(home.config.read_text())["aliases"] == {"a": "1,2"}
    assert (await home.run("config", "set", "prices.m", "0,-1")).status == 2
