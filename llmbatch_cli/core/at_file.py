"""Values that a file holds: `-s @system.txt`, `-p tools=@tools.json`."""

from pathlib import Path

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import did_you_mean, near_file


def text_of(value: str, option: str) -> str:
    """The text of the file that `@FILE` names, without the newline at its end; `@@` is an `@`.

    Any other value is itself. Raises UsageError where the file cannot be read or is empty.
    """
    if not value.startswith("@"):
        return value
    name = value[1:]
    if name.startswith("@"):
        return name
    literal = f"@ reads a file; a value that begins with @ is written with two: @@{name}"
    try:
        text = Path(name).read_text(encoding="utf-8-sig").rstrip("\r\n")
    except FileNotFoundError as error:
        near = near_file(name)
        hint = did_you_mean([f"@{near}"]) if near else literal
        raise UsageError(f"{option}: no such file: {name}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: {name} is not UTF-8", hint="convert it to UTF-8") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{option}: cannot read {name}: {reason}", hint=literal) from error
    if not text:
        raise UsageError(f"{option}: {name} is empty", hint="leave the option out")
    return text
