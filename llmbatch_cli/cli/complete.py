"""What a shell proposes for an option's value: see `llmbatch --install-completion`."""

from collections.abc import Callable, Mapping
from typing import Final


def models(incomplete: str) -> list[str]:
    """Known models and every provider's name before its `/`; also of a list, as in `-m one,tw`."""
    from llmbatch_cli.cli.configured import setup_for_completion
    from llmbatch_cli.providers.anthropic.models import CURRENT as CLAUDES
    from llmbatch_cli.providers.openai.models import CURRENT as GPTS
    from llmbatch_cli.providers.registry import DEFAULT_MODEL, WELL_KNOWN, providers_with

    setup = setup_for_completion()
    known = (*setup.aliases, *WELL_KNOWN, *GPTS, *CLAUDES, DEFAULT_MODEL, "fake/echo", "fake/lorem")
    exact = (*(f"openai/{name}" for name in GPTS), *(f"anthropic/{name}" for name in CLAUDES))
    prefix, comma, begun = incomplete.rpartition(",")
    names = [*dict.fromkeys(known), *(f"{name}/" for name in providers_with(setup))]
    if "/" in begun:
        names = [*exact, *known]
    return [f"{prefix}{comma}{name}" for name in names if name.startswith(begun)]


def providers(incomplete: str) -> list[str]:
    """Every provider's name."""
    from llmbatch_cli.cli.configured import setup_for_completion
    from llmbatch_cli.providers.registry import providers_with

    return [name for name in providers_with(setup_for_completion()) if name.startswith(incomplete)]


PROPOSALS: Final[Mapping[str, Callable[[str], list[str]]]] = {
    "models": models,
    "providers": providers,
}

NO_SPACE: Final = "[[ ${COMPREPLY-} == */ ]] && compopt -o nospace"


def leave_no_space_after_slash() -> None:
    """Let bash go on with the model's name behind `anthropic/`.

    Typer's script has no option for it, so a line is put into it where it is as known.
    """
    from typer import _completion_shared as shared

    scripts: dict[str, str] = getattr(shared, "_completion_scripts", {})
    if "bash" in scripts and NO_SPACE not in scripts["bash"]:
        line = f"    {NO_SPACE}\n    return 0\n"
        scripts["bash"] = scripts["bash"].replace("    return 0\n", line)
