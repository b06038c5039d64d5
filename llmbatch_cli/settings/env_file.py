"""`--env-file`: variables of a file, as if they were in the environment."""

from collections.abc import MutableMapping
from pathlib import Path

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import did_you_mean, near_file


def load(path: Path, environ: MutableMapping[str, str], *, option: str = "--env-file") -> None:
    """Set the file's variables where they are not set: what is set wins. Raises UsageError.

    A value stands as it is: `$` in it stands for nothing else. `option` has named the file.
    """
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: no valid UTF-8") from None
    except (OSError, ValueError) as error:
        near = near_file(str(path))
        said = getattr(error, "strerror", None) or error
        hint = did_you_mean([near]) if near else None
        raise UsageError(f"cannot read {option} {path}: {said}", hint=hint) from error
    for binding in bindings:
        if binding.error:
            raise UsageError(
                f"{path}:{binding.original.line}: this is not NAME=VALUE",
                hint="a value with spaces or a # in it stands in quotes",
            )
        if binding.key is not None and binding.value is not None:
            if "\0" in binding.key + binding.value:
                raise UsageError(f"{path}:{binding.original.line}: there is a NUL character in it")
            environ.setdefault(binding.key, binding.value)
