"""AWS credentials and the region, from where the AWS command line has them too."""

import configparser
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.near import install_hint
from llmbatch_cli.storage.address import Address

_BY_ENVIRONMENT: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Of which one suffices, and the library reads it."""
_METADATA: Final = "http://169.254.169.254"
"""Where a machine of Amazon's has its credentials."""
_METADATA_WAIT_S: Final = 1.0
_STATIC: Final = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}
_NO_CREDENTIALS: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
    "AWS_SKIP_SIGNATURE=true reads a public bucket without"
)


def s3_settings(environ: Mapping[str, str], where: Address) -> dict[str, Any]:
    """What the library is given besides the environment, which it reads by itself.

    Reads ~/.aws, and may look for a machine's own credentials. Raises UsageError where there are
    none.
    """
    profile = _profile(environ)
    settings: dict[str, Any] = {}
    if "AWS_COPY_IF_NOT_EXISTS" not in environ:
        settings["copy_if_not_exists"] = "multipart"
    if not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        settings["region"] = profile.get("region", "us-east-1")
    if any(environ.get(name) for name in _BY_ENVIRONMENT):
        return settings
    if all(profile.get(_STATIC[name]) for name in ("access_key_id", "secret_access_key")):
        return settings | {
            name: profile[field] for name, field in _STATIC.items() if profile.get(field)
        }
    if profile.keys() & {"sso_session", "sso_start_url", "role_arn", "credential_process"}:
        return settings | {"credential_provider": _by_botocore(environ)}
    if not _is_amazons(environ):
        raise UsageError(f"no AWS credentials for {where}", hint=_NO_CREDENTIALS)
    return settings


def _profile(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The profile in force, of both files. Raises UsageError where it is named and not there."""
    named = environ.get("AWS_PROFILE")
    name = named or "default"
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        path = Path(environ.get(variable) or Path("~/.aws", file)).expanduser()
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: it is no file of AWS profiles") from error
        if parser.has_section(section):
            found.update(parser[section])
    if named and not found:
        raise UsageError(f"there is no AWS profile {named}", hint="see aws configure list-profiles")
    return found


def _by_botocore(environ: Mapping[str, str]) -> Any:
    """Credentials that a login, a role or a program gives, renewed before they end."""
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as error:
        raise UsageError(
            "this AWS profile needs botocore, which is not installed",
            hint=f"{install_hint('bedrock')}, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from error
    try:
        found = Session(profile=environ.get("AWS_PROFILE")).get_credentials()
    except BotoCoreError as error:
        raise UsageError(f"the AWS credentials cannot be read: {error}") from error
    if found is None:
        raise UsageError("the AWS profile has no credentials", hint="log in: aws sso login")

    def provide() -> dict[str, Any]:
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": getattr(found, "_expiry_time", None),
        }

    return provide


def _is_amazons(environ: Mapping[str, str]) -> bool:
    """Whether this machine is told its credentials by its host."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    address = urlsplit(environ.get("AWS_METADATA_ENDPOINT") or _METADATA)
    try:
        place = (address.hostname or "", address.port or 80)
        with socket.create_connection(place, timeout=_METADATA_WAIT_S):
            return True
    except OSError:
        return False
