"""A host of the user's own is a provider like any other."""

import json

from support.chat import answer, completion, echo
from support.program import jsonl
from support.scripted import Exchange, serve
from support.settings import Home

KEY = "sk-secret-0123456789"
ROW = jsonl(["hi"])


async def test_it_is_listed_proposed_and_asked(home: Home) -> None:
    async def models_too(exchange: Exchange) -> None:
        if exchange.path.endswith("/models"):
            await answer(exchange, {"data": [{"id": "m-1"}]})
        else:
            await echo(exchange)

    async with serve(models_too) as server:
        home.write(f'[aliases]\nmia = "my-box/m"\n[hosts.my-box]\nbase_url = "{server.url}/v1/"\n')
        env = {"MY_BOX_API_KEY": KEY}
        done = await home.run("batch", "-m", "my-box/a/b", "-q", stdin=ROW, env=env)
        assert (done.rows[0]["provider"], done.rows[0]["text"]) == ("my-box", "HI")
        (asked,) = server.exchanges
        assert asked.header("authorization") == f"Bearer {KEY}"
        assert (asked.path, json.loads(asked.body)["model"]) == ("/v1/chat/completions", "a/b")
        assert (await home.run("models", "my-box", env=env)).out == b"m-1\n"
        (listed,) = [
            row
            for row in (await home.run("providers", "--json", env=env)).rows
            if row["provider"] == "my-box"
        ]
    assert listed["key_variable"] == "MY_BOX_API_KEY"
    assert (listed["base_url"], listed["key_needed"]) == (f"{server.url}/v1", False)
    complete = {"_LLMBATCH_COMPLETE": "complete_bash", "COMP_WORDS": "llmbatch batch -m m"}
    done = await home.run(env={**complete, "COMP_CWORD": "3"})
    assert {"mia", "my-box/"} <= set(done.out.decode().split())


async def test_its_name_is_known_where_names_are_read(home: Home) -> None:
    """In a list with parameters, as an alias is, and among the nearest of a wrong one."""
    home.write('[aliases]\nfast = "fake/lorem"\n[hosts.mine]\nbase_url = "http://localhost:9"\n')
    models = "mine/n?stop=a,fast,mine/m"
    done = await home.run("race", "--all", "-q", "--max-attempts", "1", "-m", models, "hello")
    assert {row["provider"] for row in done.rows} == {"fake", "mine"}
    assert len(done.rows) == 3
    done = await home.run("batch", "-m", "mien/m", stdin=ROW)
    assert (done.status, "did you mean mine/m" in done.err) == (2, True)


async def test_its_key_is_needed_where_its_variable_is_named(home: Home) -> None:
    home.write('[hosts.mine]\nbase_url = "http://localhost:9"\nkey_variable = "GATE"\n')
    done = await home.run("batch", "-m", "mine/m", stdin=ROW)
    assert done.status == 2
    assert "no key for mine: GATE is not set" in done.err
    assert "llmbatch keys set mine" in done.err


async def test_its_variable_moves_it(home: Home) -> None:
    async with serve(echo) as server:
        home.write('[hosts.mine]\nbase_url = "http://localhost:9"\n')
        env = {"MINE_BASE_URL": server.url}
        done = await home.run("batch", "-m", "mine/m", "-q", stdin=ROW, env=env)
    assert done.rows[0]["text"] == "HI"


async def test_what_differs_is_as_the_file_says(home: Home) -> None:
    """Parameters, efforts, errors, cost and extras, as for the hosts that the program knows."""

    async def reply(exchange: Exchange) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "money": {"cents": 50}}
        await answer(exchange, completion("x", usage=usage, sources=["s"]))

    async with serve(reply) as server:
        home.write(
            f'[hosts.mine]\nbase_url = "{server.url}"\n'
            'renamed = { max_tokens = "most" }\nrefused = { n = 1 }\nno_formats = ["json_object"]\n'
            "efforts = { none = { think = false } }\ndeveloper = true\n"
            'cost = "money.cents"\ncosts_per_usd = 100\nextras = ["sources"]\n'
        )
        row = [{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}]
        done = await home.run(
            "batch", "-m", "mine/m?max_tokens=5&n=1&reasoning_effort=none", "-q", stdin=jsonl([row])
        )
        assert done.status == 0, done.err + done.out.decode()
        sent = json.loads(server.exchanges[0].body)
        refused = await home.run("batch", "-m", "mine/m?n=2", "-q", stdin=ROW)
    assert (sent["most"], sent["think"], sent["messages"][0]["role"]) == (5, False, "developer")
    assert "n" not in sent
    assert done.rows[0]["cost"] == 0.5
    assert refused.status == 2
    assert "mine/m does not support n" in refused.err


async def test_its_errors_mean_what_the_file_says(home: Home) -> None:
    async def reply(exchange: Exchange) -> None:
        word = json.loads(exchange.body)["messages"][0]["content"]
        status = 498 if word == "status" else 400
        body = {"error": {"message": f"it is {word}", "code": word}}
        await answer(exchange, body, status)

    async with serve(reply) as server:
        home.write(
            f'[hosts.mine]\nbase_url = "{server.url}"\nstatuses = {{ 498 = "refused" }}\n'
            'codes = { full = "context_length" }\n'
            'words = { "it is (odd|even)" = "unknown_model" }\n'
        )
        rows = jsonl(["status", "full", "even"])
        done = await home.run("batch", "-m", "mine/m", "-q", "--ordered", "-c1", stdin=rows)
    found = [row["error"]["type"] for row in done.rows]
    assert found == ["refused", "context_length", "unknown_model"]
