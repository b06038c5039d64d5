"""Requests of the batch API, signed by the AWS credentials in force at that moment.

Jobs run for days, so that credentials are asked for anew with each request: they renew themselves.
"""

import asyncio
from typing import Any, Final

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.core.types import WireRequest
from llmbatch_cli.providers.bedrock import s3
from llmbatch_cli.providers.bedrock.aws import frozen, load_credentials, signed
from llmbatch_cli.providers.bedrock.provider import Bedrock

_SIGNATURE: Final = frozenset(("authorization", "x-amz-date", "x-amz-security-token"))


class Signer:
    """Signs for one provider: its region, its environment."""

    def __init__(self, provider: Bedrock) -> None:
        self._provider = provider
        self._found: Any = None

    async def credentials(self) -> Any:
        """As they are now. Raises UsageError without any, and where none may go."""
        if self._found is None:
            self._provider.check_credentials_may_go()
            self._found = await asyncio.to_thread(load_credentials, self._provider.environ)
        if self._found is None:
            raise UsageError(
                "no AWS credentials, which S3 needs beside any key",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            )
        return await asyncio.to_thread(frozen, self._found)

    async def for_bedrock(self, request: WireRequest) -> WireRequest:
        """The request with the key that it has, or signed."""
        if request.headers.get("authorization", "").startswith("Bearer "):
            return request
        kept = {name: one for name, one in request.headers.items() if name not in _SIGNATURE}
        bare = WireRequest(request.method, request.url, kept, request.body)
        return signed(bare, await self.credentials(), self._provider.region)

    async def for_s3(self, method: str, uri: str, sha256: str = s3.EMPTY_SHA256) -> WireRequest:
        """A request for s3://BUCKET/KEY, which must not get Bedrock's key."""
        region = self._provider.region
        url = s3.url_of(uri, region, s3.endpoint_of(self._provider.environ, "S3"))
        bare = WireRequest(method, url, {})
        return signed(bare, await self.credentials(), region, s3_sha256=sha256)
