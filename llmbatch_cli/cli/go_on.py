"""The command that goes on where a run has stopped, without anybody's secrets."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from llmbatch_cli.core.privacy import KEY_SHAPES

_PARAM: Final = re.compile(r"(--param=?|-p=?)(.*)", re.DOTALL)
_SECRET: Final = re.compile(
    r"extra_headers|api[-_]?key|secret|passw|credential|authorization|cookie|bearer"
    r"|(?:access|auth|session|security)[-_]?token|(?:^|[?&])(?:key|token|sig|signature)=",
    re.IGNORECASE,
)
"""What stands in an argument that may hold a secret; better one too many than one too few."""
_QUERY: Final = re.compile(r"(\?).+", re.DOTALL)
_USER: Final = re.compile(r"(://)[^/@]*@")
HIDDEN: Final = "..."


def go_on_command(argv: Sequence[str], inputs: Sequence[str]) -> str:
    """The command, with `...` in place of what may be secret, and a note where there is any."""
    given = [one for one in argv[1:] if one not in ("--overwrite", "--resume")]
    arguments = list(_without_secrets(given))
    place = arguments.index("--") if "--" in arguments else len(arguments)
    command = shlex.join(["llmbatch", *arguments[:place], "--resume", *arguments[place:]])
    command = f"{command} < THE SAME INPUT" if "-" in inputs else command
    return command if arguments == given else f"{command}  (write {HIDDEN} out as before)"


def _without_secrets(arguments: Sequence[str]) -> Iterator[str]:
    before = ""
    for one in arguments:
        if before in ("-p", "--param"):
            yield _param(one)
        elif before not in ("-s", "--system") and (found := _PARAM.fullmatch(one)) and found[2]:
            yield found[1] + _param(found[2])
        else:
            yield _address(one)
        before = one


def _param(pair: str) -> str:
    """NAME=VALUE, without the value where it may be secret."""
    name, equals, value = pair.partition("=")
    is_secret = _SECRET.search(pair) or KEY_SHAPES.search(value)
    return f"{name}{equals}{HIDDEN}" if is_secret and value else pair


def _address(argument: str) -> str:
    """A URL or a model without a password, and without a query that may hold a secret."""
    argument = _USER.sub(rf"\1{HIDDEN}@", argument)
    query = None if " " in argument else _QUERY.search(argument)  # a prompt has spaces
    if query is not None and _SECRET.search(query[0]):
        return _QUERY.sub(rf"\1{HIDDEN}", argument)
    return KEY_SHAPES.sub(HIDDEN, argument)
