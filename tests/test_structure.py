"""The shape of the code: imports run one way, and libraries stay in their places."""

import ast
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from support.chat import echo
from support.program import environment
from support.scripted import serve

import llmbatch_cli

PACKAGE = Path(llmbatch_cli.__file__).parent

LAYERS = [
    {"core"},
    {"storage"},
    {"rows", "engine", "providers", "transport", "ui", "loops", "pricing"},
    {"models", "drivers", "answer_shapes", "report", "settings"},
    {"plans"},
    {"job", "client", "estimate"},
    {"cluster"},
    {"cli", "compat"},
    {"__main__"},
]
"""From the bottom up; an import goes to a lower layer, or stays inside its own folder."""

HOMES = {
    "typer": {"cli"},
    "rich": {"ui", "cli"},
    "httptools": {"transport"},
    "aiohappyeyeballs": {"transport"},
    "httpx": {"transport"},
    "xllamacpp": {"providers"},
    "jsonschema_rs": {"engine"},
    "pyarrow": {"rows"},
    "python_calamine": {"rows"},
    "minijinja": {"rows"},
    "yaml": {"rows"},
    "json_repair": {"engine"},
    "sqlite3": {"engine"},
    "xlsxwriter": {"rows"},
    "genai_prices": {"pricing"},
    "tomllib": {"settings"},
    "tomlkit": {"settings"},
    "keyring": {"settings"},
    "dotenv": {"settings"},
    "splintr": {"estimate"},
    "obstore": {"storage"},
    "ray": {"cluster"},
}
"""Where a library may be imported."""


@cache
def modules() -> Mapping[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


@cache
def imports(path: Path) -> Sequence[str]:
    return list(imported(path))


def imported(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """The module of ours that an imported name belongs to, without the package."""
    if not name.startswith("llmbatch_cli."):
        return None
    path = name.removeprefix("llmbatch_cli.")
    return path if path in modules() else path.rpartition(".")[0]


def layer(module: str) -> int:
    top = module.partition(".")[0]
    return next(place for place, names in enumerate(LAYERS) if top in names)


def test_imports_run_one_way() -> None:
    """No module imports from a higher layer, nor from a sibling of its own."""
    wrong = []
    for module, path in modules().items():
        for name in imports(path):
            target = own(name)
            if not module or not target:
                continue
            same = module.partition(".")[0] == target.partition(".")[0]
            if not same and layer(target) >= layer(module):
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_there_are_no_import_cycles() -> None:
    """Modules can be put in an order in which each imports only earlier ones."""
    edges = {
        module: {own(name) for name in imports(path)} - {None, module}
        for module, path in modules().items()
    }
    while edges:
        free = {module for module, targets in edges.items() if not targets & edges.keys()}
        assert free, f"a cycle among {sorted(edges)}"
        edges = {module: targets for module, targets in edges.items() if module not in free}


def test_libraries_stay_in_their_places() -> None:
    """Each library that the design confines is imported nowhere else."""
    wrong = [
        f"{module} imports {name}"
        for module, path in modules().items()
        for name in imports(path)
        if (homes := HOMES.get(name.partition(".")[0])) is not None
        and module.partition(".")[0] not in homes
    ]
    assert wrong == []


def loaded_by(*arguments: str) -> set[str]:
    """The modules that are imported by the program with these arguments."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmbatch_cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=environment({"OPENAI_API_KEY": "k", "SSL_CERT_FILE": "/nowhere"}),
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_version_costs_next_to_nothing() -> None:
    """`--version` loads no HTTP client, no loop and no command line library."""
    loaded = loaded_by("--version")
    assert not loaded & {"httptools", "httpx", "asyncio", "typer", "rich", "orjson"}


def test_help_loads_no_http_client() -> None:
    """`batch --help` does without what only a run needs."""
    assert not loaded_by("batch", "--help") & {"httptools", "httpx", "xllamacpp", "rich"}


async def test_a_run_loads_only_what_it_needs(tmp_path: Path) -> None:
    """A run over plain http loads no second client, no display, and nothing that is for a race,
    for --resume, for a proxy, or for another provider; and it reads no certificates."""
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('"hello"\n')
    async with serve(echo) as server:
        run = ("batch", str(rows), "-m", "openai/m", "--base-url", server.url, "-o", str(out), "-q")
        loaded = await asyncio.to_thread(loaded_by, *run)
    assert json.loads(out.read_text())["text"] == "HELLO"
    assert "llmbatch_cli.transport.http1.wire" in loaded
    assert not loaded & {
        "httpx",
        "rich",
        "glob",
        "minijinja",
        "yaml",
        "email",
        "urllib.request",
        "http.client",
        "mimetypes",
        "sqlite3",
        "platformdirs",
        "decimal",
        "genai_prices",
        "pydantic",
        "tomllib",
        "tomlkit",
        "keyring",
        "dotenv",
    }
    ours = {name.removeprefix("llmbatch_cli.") for name in loaded}
    assert not ours & {
        "client",
        "plans.race",
        "engine.race_work",
        "engine.cache",
        "rows.resume",
        "rows.output.settle",
        "rows.input.delimited",
        "rows.input.binary_tables",
        "answer_shapes",
        "engine.shaped",
        "settings",
    }
    providers = {name.split(".")[1] for name in ours if name.startswith("providers.")}
    assert not providers & {"anthropic", "bedrock", "cohere", "fake", "gemini", "local", "ollama"}


def test_a_row_is_answered_before_the_garbage_collector_looks_at_anything(tmp_path: Path) -> None:
    """Neither the imports, nor one row, nor the end cost a collection; the collector is on."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('"hello"\n')
    program = f"""if True:
        import atexit, gc, sys
        sys.argv = ["llmbatch", "batch", {str(rows)!r}, "-m", "fake/echo", "-q"]
        from llmbatch_cli.__main__ import main
        seen = []
        gc.callbacks.append(lambda phase, info: seen.append(phase))
        atexit.register(lambda: print(gc.isenabled(), seen, len(gc.get_objects()) < 1_000))
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines()[-1] == "True [] True"


def test_files_are_read_in_one_sitting() -> None:
    """No file of the program is longer than 400 lines; the table of hosts is read row by row."""
    lengths = {module: path.read_text().count("\n") for module, path in modules().items()}
    long = {name: n for name, n in lengths.items() if n > 400 and name != "providers.hosts"}
    assert long == {}


def test_no_function_has_more_than_eight_parameters() -> None:
    """Options travel in values by subject; `self` and `**params` do not count."""
    counts = {
        f"{module}.{node.name}": len(_parameters(node.args))
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    many = {name for name, count in counts.items() if count > 8}
    assert many == {"compat.litellm.abatch_completion"}, "that one has litellm's own"


def _parameters(arguments: ast.arguments) -> Sequence[ast.arg]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    listed = [arguments.vararg] if arguments.vararg else []
    return [one for one in (*named, *listed) if one.arg not in ("self", "cls")]


def test_no_test_of_a_provider_runs_alone() -> None:
    """`make test` does not look there for such tests, since the SDKs take long to import."""
    providers = Path(__file__).parent / "providers"
    alone = [path for path in providers.rglob("*.py") if "mark.alone" in path.read_text()]
    assert alone == []
