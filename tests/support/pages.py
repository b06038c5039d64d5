"""The README and the recipes: their blocks, and a place to run them."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.chat import answer, completion, echo
from support.program import environment
from support.scripted import Exchange, Server

from llmbatch_cli.providers.fake.instances import instance_of

TOP = Path(__file__).parent.parent.parent
PAGES = (TOP / "README.md", *sorted((TOP / "samples" / "recipes").glob("*.md")))


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """Its page and first line, for the test's name."""
        return f"{self.page}: {self.text.partition(chr(10))[0]}"


BLOCKS = [
    Block(page.name, language, text)
    for page in PAGES
    for language, text in re.findall(
        r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
]


def the_block(phrase: str) -> Block:
    """The one block of commands that has this phrase."""
    (block,) = [block for block in BLOCKS if block.language == "bash" and phrase in block.text]
    return block


def outputs(block: Block) -> list[str]:
    """The files that its commands write."""
    return re.findall(r" -o (\S+)", block.text)


def clone(folder: Path) -> Path:
    """The folder, with the files that a fresh clone has for the commands."""
    shutil.copytree(TOP / "samples", folder / "samples")
    return folder


def openai_at(server: Server) -> dict[str, str]:
    """The environment in which this server stands in OpenAI's place."""
    return {"OPENAI_API_KEY": "sk-readme", "OPENAI_BASE_URL": f"{server.url}/v1"}


async def reply(exchange: Exchange) -> None:
    """Answer with the last message in capitals, or in the form that is asked for."""
    form = json.loads(exchange.body).get("response_format", {})
    if form.get("type") != "json_schema":
        await echo(exchange)
        return
    value = instance_of(form["json_schema"]["schema"])
    await answer(exchange, completion(json.dumps(value)))


async def shell(
    command: str,
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    time_limit_s: float = 50,
) -> tuple[int, str, str]:
    """Run the command in bash, with this environment's `llmbatch` first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {
        "PATH": path,
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "LLMBATCH_STATE_DIR": str(folder / ".state"),
    }
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", command, cwd=folder,
        env=environment({**own, **(env or {})}), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(time_limit_s):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
