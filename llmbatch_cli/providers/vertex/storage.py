"""Files in a bucket of Google Cloud Storage, by its JSON API.

Sources (read 2026-11-26): docs.cloud.google.com/storage/docs/performing-resumable-uploads (a
session; `bytes */SIZE` asks how much has come; a 308 says so in Range, and has none for nothing;
after a 5xx and a broken connection the same session goes on; it lasts a week, and a 404 or 410 says
that it is gone), /docs/json_api/v1/objects/{insert,get,list}, /docs/request-endpoints (`name` and
the object in a path are quoted, slashes too). An object is there when it is whole, and not before.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import orjson

from llmbatch_cli.core.errors import (
    BadReply,
    Interrupted,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unreachable,
)
from llmbatch_cli.core.frozen import frozen
from llmbatch_cli.core.types import WireReply, WireRequest
from llmbatch_cli.providers.batch_api import Http, count
from llmbatch_cli.providers.gemini.pages import pages
from llmbatch_cli.providers.wire.limits import retry_after_s
from llmbatch_cli.providers.wire.replies import clean, json_object, mapping, mappings, text_or_none

STORAGE: Final = "https://storage.googleapis.com"
MOST_BREAKS: Final = 4
"""How often in a row an upload may break off without having brought anything."""
_MORE: Final = 308
_GONE: Final = (404, 410)
_CAME: Final = re.compile(r"bytes=0-(\d+)")
_HINTS: Final = {
    401: "the access token has ended, or is none",
    403: "who calls needs the role roles/storage.objectUser on the bucket",
    404: "is that bucket there, and is --batch-bucket right?",
}


@frozen
class Place:
    """A file in a bucket, or a folder: a name that ends with a slash."""

    bucket: str
    name: str

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"

    @classmethod
    def of(cls, uri: str) -> Self:
        """Raises BadReply for what is none."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if not uri.startswith("gs://") or not bucket or not name:
            raise BadReply(f"{clean(uri, 100)} is no file in Cloud Storage")
        return cls(bucket, name)


@frozen
class CloudStorage:
    """What is behind one address, for whom the headers say."""

    root: str
    headers: Mapping[str, str] = field(repr=False)

    # Up

    async def upload(self, http: Http, place: Place, file: Path, size: int) -> None:
        """Send the file, going on after a break where it was."""
        session = await self._session(http, place, size)
        start = still = 0
        while True:
            reply = await self._rest(http, session, file, start, size)
            if reply.status in _GONE:
                raise Interrupted(f"the upload to {place.uri} has to begin anew")
            if reply.status != _MORE:
                self._checked(reply, place)
                return
            found = _CAME.match(reply.headers.get("range", ""))
            came = int(found[1]) + 1 if found else 0
            still = 0 if came > start else still + 1
            if still >= MOST_BREAKS:
                raise Interrupted(f"the upload to {place.uri} breaks off again and again")
            start = came

    async def _session(self, http: Http, place: Place, size: int) -> str:
        """The address that takes the file, which is also the right to send it there. One that
        nothing is sent to costs nothing."""
        query = urlencode({"uploadType": "resumable", "name": place.name})
        url = f"{self.root}/upload/storage/v1/b/{quote(place.bucket, safe='')}/o?{query}"
        kind = "application/jsonl"
        headers = {
            "content-type": "application/json",
            "x-upload-content-type": kind,
            "x-upload-content-length": str(size),
        }
        body = orjson.dumps({"contentType": kind})
        reply = await http.get(WireRequest("POST", url, {**self.headers, **headers}, body))
        self._checked(reply, place)
        session = text_or_none(reply.headers.get("location")) or ""
        is_here = session.split("/", 3)[:3] == self.root.split("/", 3)[:3]
        if not (is_here or session.startswith("https://")):
            raise BadReply("Cloud Storage gives no address for the upload")
        return session

    async def _rest(self, http: Http, session: str, file: Path, start: int, size: int) -> WireReply:
        """Send what is left; after a break, what has come of it."""
        if start < size:
            range_ = {"content-range": f"bytes {start}-{size - 1}/{size}"}
            try:
                rest = WireRequest("PUT", session, range_)
                reply = await http.upload(rest, file, start=start)
                if reply.status < 500 and reply.status not in (408, 429):
                    return reply
            except (Unreachable, Interrupted) as error:
                if not error.retry:
                    raise
        asked = {"content-range": f"bytes */{size}"}
        return await http.get(WireRequest("PUT", session, asked))

    async def size_of(self, http: Http, place: Place) -> int | None:
        """The file's size; None where it is not there."""
        reply = await http.get(self._of(place, "fields=size"))
        if reply.status == 404:
            return None
        self._checked(reply, place)
        return count(json_object(reply).get("size"))

    # Down

    async def files(self, http: Http, folder: Place) -> AsyncIterator[Place]:
        """What is in the folder and below it."""

        async def ask(more: Mapping[str, str]) -> Mapping[str, Any]:
            query = {"prefix": folder.name, "fields": "items(name),nextPageToken", **more}
            page = await http.get(self._of(Place(folder.bucket, ""), urlencode(query)))
            self._checked(page, folder)
            return json_object(page)

        async for page in pages(ask, folder.uri):
            for item in mappings(page.get("items")):
                if name := text_or_none(item.get("name")):
                    yield Place(folder.bucket, name)

    def download(self, place: Place) -> WireRequest:
        """The request for a file's content."""
        return self._of(place, "alt=media")

    # Both

    def failed(self, reply: WireReply, place: Place) -> ProviderError:
        """The error in a reply that is no success."""
        status = reply.status
        try:
            said = text_or_none(mapping(json_object(reply).get("error")).get("message"))
        except BadReply:
            said = None
        message = f"{place.uri}: {clean(said or f'HTTP {status}', 300)}"
        if status in (401, 403):
            error: ProviderError = Unauthorized(message, status=status, hint=_HINTS[status])
        elif status == 429:
            error = RateLimited(message, status=status)
        elif status >= 500 or status == 408:
            error = Overloaded(message, status=status)
        else:
            error = Rejected(message, status=status, hint=_HINTS.get(status))
        error.retry_after_s = retry_after_s(reply.headers)
        return error

    def _checked(self, reply: WireReply, place: Place) -> None:
        if not 200 <= reply.status < 300:
            raise self.failed(reply, place)

    def _of(self, place: Place, query: str) -> WireRequest:
        """A GET of a file, or of the bucket's list where the place has no name."""
        name = f"/{quote(place.name, safe='')}" if place.name else ""
        bucket = quote(place.bucket, safe="")
        url = f"{self.root}/storage/v1/b/{bucket}/o{name}?{query}"
        return WireRequest("GET", url, self.headers)


def storage_of(base_url: str) -> str:
    """Where the storage is beside this address: Google's own, or that of what stands for Google,
    as a gateway does, which then has both."""
    parts = urlsplit(base_url)
    host = f".{parts.hostname or ''}"
    if parts.scheme == "https" and host.endswith(".googleapis.com"):
        return STORAGE
    return f"{parts.scheme}://{parts.netloc}"
