"""The environment, and what stands in for variables that are not set."""

from collections.abc import Callable, Iterator, Mapping

from llmbatch_cli.core.frozen import frozen


@frozen
class StandIn:
    """A value for a variable that is not set."""

    value: Callable[[], str]
    """Looked up when it is needed: it may be in the system's keyring."""
    source: str
    """Where it comes from, as users know it."""


class Environment(Mapping[str, str]):
    """The variables that are set, and stand-ins for some that are not."""

    def __init__(self, variables: Mapping[str, str], stand_ins: Mapping[str, StandIn]) -> None:
        self._variables = variables
        self.stand_ins = stand_ins

    def __getitem__(self, name: str) -> str:
        stand_in = self.stand_ins.get(name)
        return self._variables[name] if stand_in is None else stand_in.value()

    def __iter__(self) -> Iterator[str]:
        yield from self._variables
        yield from (name for name in self.stand_ins if name not in self._variables)

    def __len__(self) -> int:
        return len(self._variables.keys() | self.stand_ins.keys())

    def __repr__(self) -> str:
        """Without the values, which may be keys."""
        return f"Environment({len(self)} variables)"


def stand_in_of(environ: Mapping[str, str], name: str) -> StandIn | None:
    """What stands in for this variable; None where it is what the environment has."""
    return environ.stand_ins.get(name) if isinstance(environ, Environment) else None


def source_of(environ: Mapping[str, str], name: str) -> str:
    """Where the variable's value comes from: its own name, or that of a stand-in."""
    stand_in = stand_in_of(environ, name)
    return name if stand_in is None else stand_in.source
