"""Reads one table of the settings: each name once known, each value of its type."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import did_you_mean, near_names
from llmbatch_cli.core.options import Limits
from llmbatch_cli.providers.addresses import split_base_url
from llmbatch_cli.settings.source import Keys, Source, dotted

_IS_KEY: Final = re.compile(
    r"(.*[_-])?(api[_-]?)?(key|secret|password)|((api|auth|access|bearer)[_-])?token|auth"
)
"""A name that somebody may give a key."""
_FRAMING: Final = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "content-type")
)
_NAME_CHARS: Final = frozenset("!#$%&'*+-.^_`|~")
PRICE: Final = 'as in "my-model" = [0.15, 0.60]: US dollars for a million tokens in, and out'


class Table:
    """One table, and where it stands."""

    def __init__(self, source: Source, keys: Keys, values: object) -> None:
        self.source = source
        self.keys = keys
        if not isinstance(values, dict):
            raise source.error(
                keys, f"{dotted(keys)} must be a table", f"begin it with the line [{dotted(keys)}]"
            )
        self.values: Mapping[str, Any] = values

    def error(self, name: str, message: str, hint: str | None = None) -> UsageError:
        keys = (*self.keys, name)
        return self.source.error(keys, f"{dotted(keys)} {message}", hint)

    def check_names(self, known: Collection[str], provider: str | None = None) -> None:
        """Raise UsageError for the first name that is unknown."""
        for name in self.values:
            if name not in known:
                raise self.unknown(name, known, provider)

    def unknown(self, name: str, known: Collection[str], provider: str | None = None) -> UsageError:
        """What to say of an unknown name: the nearest, or where keys are kept."""
        keys = (*self.keys, name)
        if _IS_KEY.fullmatch(name.lower()):
            return self.source.error(
                keys,
                f"{dotted(keys)}: keys are not kept in the settings",
                f"llmbatch keys set {provider or 'PROVIDER'} keeps one, and the environment may "
                "have it",
            )
        near = near_names(name, known)
        where = f" in [{dotted(self.keys)}]" if self.keys else ""
        hint = did_you_mean(near) if near else f"known{where}: {', '.join(known)}"
        return self.source.error(keys, f"unknown setting {dotted(keys)}", hint)

    def table(self, name: str) -> "Table":
        """A table in it, an empty one where it has none."""
        return Table(self.source, (*self.keys, name), self.values.get(name, {}))

    def text(self, name: str) -> str | None:
        """A text that is not empty; None where there is none."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.error(name, "must be a text", 'texts stand in quotes: "..."')
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.error(name, "must be a list of texts", 'as in ["one", "two"]')
        return tuple(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, "must be true or false")
        return value

    def number(self, name: str, *, whole: bool = False, least: float = 0) -> Any:
        """A number above `least`; None where there is none."""
        value = self.values.get(name)
        if value is None:
            return None
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise self.error(name, f"must be a {'whole ' if whole else ''}number")
        if not least < value < math.inf:
            raise self.error(name, f"must be above {least:g}")
        return value

    def text_table(self, name: str) -> dict[str, str]:
        """A table of texts."""
        table = self.table(name)
        return {key: str(table.text(key)) for key in table.values}

    def headers(self) -> dict[str, str]:
        """Its headers, which can be sent as they stand."""
        table = self.table("headers")
        for name in table.values:
            if not (name and all(one.isascii() and _in_name(one) for one in name)):
                raise table.error(name, "is not the name of a header")
            if name.lower() in _FRAMING:
                raise table.error(name, "is set by each request itself", "remove it")
            value = table.text(name) or ""
            if not (value.isascii() and value.isprintable()):
                raise table.error(name, "must be printable ASCII, without line breaks")
        return dict(table.values)

    def limits(self) -> Limits | None:
        """Its rpm, tpm and concurrency; None for none."""
        found = Limits(
            concurrency=self.number("concurrency", whole=True),
            rpm=self.number("rpm"),
            tpm=self.number("tpm", whole=True),
        )
        return None if found == Limits() else found

    def base_url(self, whose: str, whole: bool = False) -> str | None:
        """Its base URL, which may be that of a whole request."""
        url = self.text("base_url")
        if url is not None and not whole:
            self.checked("base_url", lambda: split_base_url(whose, url))
        return url

    def checked(self, name: str, check: Callable[[], object]) -> None:
        """Run a check, and say where its error is."""
        try:
            check()
        except UsageError as error:
            place = self.source.place((*self.keys, name))
            raise UsageError(f"{place}: {error.message}", hint=error.hint) from None


def _in_name(char: str) -> bool:
    return char.isalnum() or char in _NAME_CHARS


def prices_in(table: Table) -> dict[str, tuple[float, float]]:
    """`[prices]`: each model's price of a million tokens in, and out, in US dollars."""
    found: dict[str, tuple[float, float]] = {}
    for model, value in table.values.items():
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_price, value)):
            raise table.error(model, "must be two numbers from 0", PRICE)
        found[model] = (float(value[0]), float(value[1]))
    return found


def _is_price(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf  # type: ignore[operator]
