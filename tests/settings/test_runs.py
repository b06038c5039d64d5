"""What runs take of the settings, and who wins over whom."""

import asyncio
import json
import sys
import time

import pytest
from support.chat import answer, completion, echo
from support.program import environment, jsonl
from support.scripted import Exchange, serve
from support.settings import Home

KEY = "sk-secret-0123456789"
ROW = jsonl(["hi"])


async def model_of(home: Home, *words: str, env: dict[str, str] | None = None) -> str:
    done = await home.run("batch", *words, "-q", stdin=ROW, env=env)
    assert done.status == 0, done.err
    (row,) = done.rows
    return f"{row['provider']}/{row['model']}"


async def test_options_win_over_the_environment_and_that_over_the_file(home: Home) -> None:
    """For the model: -m, LLMBATCH_MODEL, [batch] model, model."""
    home.write('model = "fake/lorem"\n')
    assert await model_of(home) == "fake/lorem"
    home.write('model = "fake/lorem"\n[batch]\nmodel = "fake/echo"\n')
    assert await model_of(home) == "fake/echo"
    env = {"LLMBATCH_MODEL": "fake/lorem"}
    assert await model_of(home, env=env) == "fake/lorem"
    assert await model_of(home, "-m", "fake/echo", env=env) == "fake/echo"


async def test_a_commands_options_are_taken_where_the_command_line_has_none(home: Home) -> None:
    """Names as the flags, with - or _; of every type; a flag wins, and --no-NAME turns one off."""
    home.write(
        'model = "fake/echo"\n[batch]\nquiet = true\nformat = "text"\none-line = true\n'
        'where = "size > 1"\nprompt_field = "q"\n'
    )
    rows = jsonl([{"q": "a\nb", "size": 1}, {"q": "c\nd", "size": 2}])
    done = await home.run("batch", stdin=rows)
    assert (done.status, done.out, done.err) == (0, b"c\\nd\n", "")
    done = await home.run("batch", "--where", "size < 2", "--no-one-line", stdin=rows)
    assert (done.status, done.out) == (0, b"a\nb\n")
    done = await home.run("batch", "--no-quiet", "--no-where", stdin=rows)
    assert (done.out, "2 rows" in done.err) == (b"a\\nb\nc\\nd\n", True)


async def test_only_known_options_are_turned_off(home: Home) -> None:
    done = await home.run("batch", "--no-such", "-m", "fake/echo", stdin=ROW)
    assert (done.status, "no such option: --no-such" in done.err) == (2, True)


async def test_a_race_takes_its_models_from_the_file(home: Home) -> None:
    home.write('[race]\nmodel = ["fake/echo", "fake/lorem"]\n')
    done = await home.run("race", "-q", "hello")
    assert [one["model"] for one in done.rows[0]["race"]] == ["echo", "lorem"]


async def test_an_option_takes_the_place_of_a_setting_that_excludes_it(home: Home) -> None:
    home.write('[race]\nall = true\nmodel = ["fake/echo", "fake/lorem"]\n')
    assert len((await home.run("race", "-q", "hello")).rows) == 2
    done = await home.run("race", "-q", "--first", "hello")
    assert (done.status, len(done.rows)) == (0, 1)


async def test_an_alias_names_a_model_with_its_parameters(home: Home) -> None:
    """In -m, in --fallback and in a row; parameters behind the alias win over its own."""
    home.write('[aliases]\nfast = "mine/m1?seed=1&top_p=0.5"\n[hosts.mine]\nbase_url = "URL"\n')
    async with serve(echo) as server:
        home.write(home.config.read_text().replace("URL", server.url))
        rows = jsonl(["a", {"prompt": "b", "model": "fast"}])
        done = await home.run("batch", "-m", "fast?seed=2", "-q", "--ordered", stdin=rows)
        assert done.status == 0, done.err
        first, second = [json.loads(one.body) for one in server.exchanges]
        done = await home.run(
            "batch", "-m", "fake/echo?rejected=1", "--fallback", "fast", "-q", stdin=ROW
        )
    assert (first["model"], first["seed"], first["top_p"]) == ("m1", 2, 0.5)
    assert (second["model"], second["seed"]) == ("m1", 1)
    assert done.rows[0]["provider"] == "mine"


async def test_a_base_url_in_the_file_moves_its_provider(home: Home) -> None:
    """Its key goes there; the environment and --base-url win."""
    async with serve(echo) as one, serve(echo) as other:
        home.write(f'[providers.groq]\nbase_url = "{one.url}/v1"\n')
        run = ("batch", "-m", "groq/m", "-q")
        key = {"GROQ_API_KEY": KEY}
        done = await home.run(*run, stdin=ROW, env=key)
        assert done.rows[0]["text"] == "HI", done.err
        assert one.exchanges[0].header("authorization") == f"Bearer {KEY}"
        await home.run(*run, stdin=ROW, env={**key, "GROQ_BASE_URL": f"{other.url}/v1"})
        await home.run(*run, "--base-url", f"{other.url}/v1", stdin=ROW, env=key)
        assert (len(one.exchanges), len(other.exchanges)) == (1, 2)


async def test_no_key_of_the_file_goes_over_plain_http(home: Home) -> None:
    """A base URL of the file obeys the rules of PROVIDER_BASE_URL; headers obey those of keys."""
    home.write(
        '[providers.groq]\nbase_url = "http://192.0.2.1:9/v1"\n'
        f'[providers.groq.headers]\nx-gate = "{KEY}"\n'
    )
    run = ("batch", "-m", "groq/m", "--timeout", "0.2", "--max-attempts", "1")
    done = await home.run(*run, stdin=ROW, env={"GROQ_API_KEY": KEY})
    assert "the key for groq is withheld" in done.err
    assert "the headers set for groq are withheld" in done.err
    done = await home.run(*run, "--insecure", stdin=ROW, env={"GROQ_API_KEY": KEY})
    assert "withheld" not in done.err
    assert KEY not in done.err


async def test_headers_go_to_their_provider_alone(home: Home) -> None:
    """Over the provider's own and below a row's; not with --no-key; not to a server that moves
    another provider's model."""
    async with serve(echo) as server:
        home.write(
            f'[providers.groq]\nbase_url = "{server.url}/v1"\n'
            '[providers.groq.headers]\nX-Team = "a"\nAuthorization = "Basic x"\n'
            f'[providers.together]\nbase_url = "{server.url}/v1"\n'
        )
        env = {"GROQ_API_KEY": KEY, "TOGETHER_API_KEY": KEY}
        rows = jsonl(["a", {"prompt": "b", "extra_headers": {"x-team": "b"}}])
        await home.run("batch", "-m", "groq/m", "-q", "-c1", stdin=rows, env=env)
        await home.run("batch", "-m", "groq/m", "-q", "--no-key", stdin=ROW, env=env)
        await home.run("batch", "-m", "together/m", "-q", stdin=ROW, env=env)
        stranger = jsonl([{"prompt": "a", "model": "groq/m"}])
        url = f"{server.url}/v1"
        await home.run("batch", "-m", "openai/m", "-q", "--base-url", url, stdin=stranger, env=env)
        seen = [(one.header("x-team"), one.header("authorization")) for one in server.exchanges]
    assert seen == [
        ("a", "Basic x"), ("b", "Basic x"), (None, None), (None, f"Bearer {KEY}"), (None, None)
    ]  # fmt: skip


async def test_a_secret_header_is_not_repeated(home: Home) -> None:
    """A server that answers with what it was sent does not bring it into the output."""

    gate = "swordfish-0123"

    async def repeat(exchange: Exchange) -> None:
        sent = exchange.header("x-gate-token")
        await answer(exchange, {"error": {"message": f"bad {sent}"}}, 400)

    async with serve(repeat) as server:
        home.write(
            f'[hosts.mine]\nbase_url = "{server.url}/v1"\nheaders = {{ x-gate-token = "{gate}" }}\n'
        )
        done = await home.run("batch", "-m", "mine/m", stdin=ROW)
    assert server.exchanges[0].header("x-gate-token") == gate
    assert gate not in done.out.decode() + done.err


@pytest.mark.parametrize(
    ("words", "most"), [((), 2), (("-c", "5"), 5)], ids=["the provider's", "the flag's"]
)
async def test_a_providers_limits_win_over_the_commands_and_a_flag_over_both(
    home: Home, words: tuple[str, ...], most: int
) -> None:
    at_work, seen = 0, 0

    async def slowly(exchange: Exchange) -> None:
        nonlocal at_work, seen
        at_work += 1
        seen = max(seen, at_work)
        await asyncio.sleep(0.05)
        at_work -= 1
        await answer(exchange, completion("x"))

    async with serve(slowly) as server:
        home.write(
            f'[batch]\nconcurrency = 9\n[hosts.mine]\nbase_url = "{server.url}"\nconcurrency = 2\n'
        )
        rows = jsonl([str(n) for n in range(12)])
        done = await home.run("batch", "-m", "mine/m", "-q", *words, stdin=rows)
    assert done.status == 0
    assert seen == most


async def test_a_providers_rpm_holds(home: Home) -> None:
    """Two requests at 60 a minute: the second waits for about a second."""
    home.write('[hosts.mine]\nbase_url = "URL"\nrpm = 60\n')
    times: list[float] = []

    async def timed(exchange: Exchange) -> None:
        times.append(time.monotonic())
        await answer(exchange, completion("x"))

    async with serve(timed) as server:
        home.write(home.config.read_text().replace("URL", server.url))
        await home.run("batch", "-m", "mine/m", "-q", stdin=jsonl(["a", "b"]))
        held = times[1] - times[0]
        times.clear()
        await home.run("batch", "-m", "mine/m", "-q", "--no-rpm", stdin=jsonl(["a", "b"]))
    assert held > 0.5 > times[1] - times[0]


async def test_without_settings_nothing_of_them_is_said(home: Home) -> None:
    assert await model_of(home, "-m", "fake/echo") == "fake/echo"
    assert list(home.folder.iterdir()) == []


async def test_python_does_not_read_the_file(home: Home) -> None:
    """A script's answers do not depend on who runs it."""
    home.write('model = "nonsense"\n[batch]\nnonsense = 1\n')

    code = """if True:
        from llmbatch_cli import batch
        print(*[one.text for one in batch(["a"], model="fake/echo")])
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment(home.env), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"a\n")


async def test_help_is_there_whatever_the_file_holds(home: Home) -> None:
    home.write("= broken")
    for words in (("batch", "--help"), ("batch", "-h"), ("--version",), ("config", "path")):
        assert (await home.run(*words)).status == 0


ENV_FILE = f"""
# keys
export GROQ_API_KEY="{KEY}"
GROQ_BASE_URL='SERVER/v1'
LLMBATCH_MODEL=groq/$HOME
"""


async def test_an_env_file_is_read_when_it_is_named(home: Home) -> None:
    """Keys, base URLs and the model; `$` stands for nothing; what is set wins, and no file is
    read by itself."""
    async with serve(echo) as server:
        file = home.folder.parent / ".env"
        file.write_text(ENV_FILE.replace("SERVER", server.url))
        done = await home.run("batch", "-q", "--env-file", ".env", stdin=ROW)
        assert done.status == 0, done.err
        assert json.loads(server.exchanges[0].body)["model"] == "$HOME"
        assert server.exchanges[0].header("authorization") == f"Bearer {KEY}"
        env = {"GROQ_API_KEY": "other-key"}
        await home.run("batch", "-q", "--env-file", ".env", stdin=ROW, env=env)
        assert server.exchanges[1].header("authorization") == "Bearer other-key"
        assert (await home.run("providers", "--json")).rows[0]["base_url"]
        assert await model_of(home, "-m", "fake/echo") == "fake/echo"
        assert (await home.run("batch", "-m", "groq/m", stdin=ROW)).status == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read --env-file keys.env: No such file"),
        (b"A=1\nB 'x\n", "keys.env:2: this is not NAME=VALUE"),
        (b"A=\xff\n", "no valid UTF-8"),
    ],
)
async def test_an_env_file_that_cannot_be_read_is_an_error(
    home: Home, text: bytes | None, said: str
) -> None:
    if text is not None:
        (home.folder.parent / "keys.env").write_bytes(text)
    done = await home.run("batch", "--env-file", "keys.env", stdin=ROW)
    assert done.status == 2
    assert said in done.err


async def test_a_variable_with_a_nul_in_it_is_refused_by_its_line(home: Home) -> None:
    """No environment can hold it; what it holds is not shown."""
    (home.folder.parent / "nul.env").write_bytes(b"A=1\nOPENAI_API_KEY=sk-sec\0ret-1234\n")
    done = await home.run("batch", "-q", "--env-file", "nul.env", stdin=ROW)
    assert done.status == 2
    assert "nul.env:2: there is a NUL character in it" in done.err
    assert "sk-sec" not in done.err
    assert "Traceback" not in done.err
