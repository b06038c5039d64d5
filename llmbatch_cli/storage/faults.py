"""What stores and their library say, in our words and without anybody's secrets. No I/O."""

import errno
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from llmbatch_cli.storage.base import StorageError


class _Fault(NamedTuple):
    number: int
    message: str
    hint: str | None = None


_KEYS: Final = (
    "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE for s3://, "
    "GOOGLE_APPLICATION_CREDENTIALS for gs://, AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY for az://"
)
_DENIED: Final = _Fault(
    errno.EACCES, "access denied", "may these credentials use it, and is it there?"
)
_BAD_KEY: Final = _Fault(errno.EACCES, "the credentials are refused", _KEYS)
_NO_BUCKET: Final = _Fault(errno.ENOENT, "no such bucket", "check its name, and the endpoint")
_REGION: Final = _Fault(
    errno.EINVAL, "the bucket is in another region", "name it, as in AWS_REGION=eu-central-1"
)
_BY_CODE: Final[Mapping[str, _Fault]] = {
    "NoSuchBucket": _NO_BUCKET,
    "ContainerNotFound": _NO_BUCKET,
    "AccessDenied": _DENIED,
    "AuthorizationPermissionMismatch": _DENIED,
    "AllAccessDisabled": _DENIED,
    "InvalidAccessKeyId": _BAD_KEY,
    "SignatureDoesNotMatch": _BAD_KEY,
    "InvalidToken": _BAD_KEY,
    "AuthenticationFailed": _BAD_KEY,
    "AuthorizationFailure": _BAD_KEY,
    "NoAuthenticationInformation": _BAD_KEY,
    "ExpiredToken": _Fault(errno.EACCES, "the credentials have expired", "log in again"),
    "RequestTimeTooSkewed": _Fault(errno.EACCES, "this machine's clock is wrong", "set it"),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
}
_NO_KEY: Final = _Fault(errno.EACCES, "there are no credentials", _KEYS)
_BY_WORDS: Final = (
    ("computeMetadata", _NO_KEY),  # what is asked where no variable names any
    ("metadata/identity", _NO_KEY),
    ("Invalid Access Key", _BAD_KEY),
    ("service account file", _Fault(errno.EACCES, "the file of credentials is unusable", _KEYS)),
    ("LOCATION, this normally indicates an incorrectly configured region", _REGION),
    ("The specified bucket does not exist", _NO_BUCKET),
    (
        "Account must be specified",
        _Fault(errno.EACCES, "no storage account is named", "set AZURE_STORAGE_ACCOUNT_NAME"),
    ),
    ("dns error", _Fault(errno.EHOSTUNREACH, "the store's name is not known to the network")),
    (
        "Connection refused",
        _Fault(errno.ECONNREFUSED, "the store refuses the connection", "check the endpoint"),
    ),
    ("HTTPS scheme", _Fault(errno.EINVAL, "the endpoint is http://", "name one with https://")),
    ("TimedOut", _Fault(errno.ETIMEDOUT, "the store does not answer")),
    ("timed out", _Fault(errno.ETIMEDOUT, "the store does not answer")),
)
_BY_CLASS: Final[Mapping[str, _Fault]] = {
    "PermissionDeniedError": _DENIED,
    "UnauthenticatedError": _BAD_KEY,
    "PreconditionError": _Fault(
        errno.ESTALE, "it has changed since it was first read", "start again, and leave it be"
    ),
    "NotSupportedError": _Fault(errno.ENOTSUP, "the store cannot do this"),
    "InvalidPathError": _Fault(errno.EINVAL, "no valid name of an object"),
}
_CODE: Final = re.compile(r"<Code>(\w+)</Code>|\"code\": *\"(\w+)\"")
_STATUS: Final = re.compile(r"non-2xx status code: (\d{3}(?: [A-Z][A-Za-z]*)*)")


def told(error: BaseException, name: str) -> OSError:
    """An error of the library as one for people; FileNotFoundError where the object is missing.

    Of a store's own text only codes are taken: it may repeat signatures, and addresses with keys.
    """
    text = str(error)
    found = _CODE.search(text)
    code = (found[1] or found[2]) if found else None
    fault = _BY_CODE.get(code or "") or next(
        (one for words, one in _BY_WORDS if words in text), None
    )
    if fault is None and isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such object", name)
    fault = fault or _BY_CLASS.get(type(error).__name__)
    if fault is not None:
        return StorageError(fault.number, fault.message, name, fault.hint)
    status = _STATUS.search(text)
    said = code or (status[1] if status else "no connection, or no whole reply")
    return StorageError(
        errno.EIO, f"the store has failed: {said}", name, "try again; is the address right?"
    )
