"""The user's own storage, for a provider whose batch API keeps no files."""

import re
from collections.abc import Mapping
from typing import Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.frozen import frozen

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
BUCKET_VARIABLE: Final = "LLMBATCH_BATCH_BUCKET"
ROLE_VARIABLE: Final = "LLMBATCH_BATCH_ROLE"


@frozen(kw_only=True)
class Storage:
    """A folder in a bucket, and who may use it."""

    bucket: str | None = None
    """Its address, as s3://BUCKET/FOLDER or gs://BUCKET/FOLDER."""
    role: str | None = None
    """By which the provider reads and writes it."""

    def or_of(self, environ: Mapping[str, str]) -> "Storage":
        """The same, with what the environment has for what is not given."""
        return Storage(
            bucket=self.bucket or environ.get(BUCKET_VARIABLE) or None,
            role=self.role or environ.get(ROLE_VARIABLE) or None,
        )

    def place(self, scheme: str, provider: str) -> tuple[str, str]:
        """The bucket, and the folder in it: empty, or with a slash behind it.

        Raises UsageError where there is none, or of another scheme than `scheme`.
        """
        wanted = f"--batch-bucket {scheme}://BUCKET/FOLDER, or {BUCKET_VARIABLE}"
        if self.bucket is None:
            raise UsageError(
                f"jobs of {provider} are read from and written to a bucket of yours, and none is "
                "named",
                hint=wanted,
            )
        kind, _, rest = self.bucket.strip().partition("://")
        bucket, _, folder = rest.partition("/")
        if kind != scheme or not _BUCKET.fullmatch(bucket):
            shown = ascii(self.bucket[:100])
            raise UsageError(f"{shown} is no bucket for {provider}", hint=f"as in {wanted}")
        folder = folder.strip("/")
        if not folder.isprintable() or {"", ".", ".."} & set(folder.split("/") if folder else ()):
            raise UsageError(f"{folder!a} is no folder of a bucket", hint=f"as in {wanted}")
        return bucket, f"{folder}/" if folder else ""
