"""A user's folder of settings, for the real program."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.program import Done, run


@dataclass(frozen=True)
class Home:
    """A folder in which the program finds settings and keys."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "llmbatch" / "config.toml"

    @property
    def keys(self) -> Path:
        return self.folder / "llmbatch" / "keys.json"

    @property
    def env(self) -> dict[str, str]:
        return {"XDG_CONFIG_HOME": str(self.folder), "COLUMNS": "200"}

    def write(self, text: str) -> None:
        """The file of settings."""
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(text)

    async def run(
        self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Done:
        """The program, in a folder beside the settings."""
        return await run(
            *words, stdin=stdin, env={**self.env, **(env or {})}, cwd=self.folder.parent
        )
