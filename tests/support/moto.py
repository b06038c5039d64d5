"""A simulated S3 in this process, on a loopback port."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from urllib.request import Request, urlopen

import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

KEY = "AKIAPLANTEDKEY000001"
SECRET = "planted/secret/of/forty/characters/00000"
REGION = "us-east-1"
_numbers = count(1)


class Bucket:
    """A new bucket of a server."""

    def __init__(self, url: str, name: str | None = None) -> None:
        self.url = url
        self.name = name or f"bucket-{next(_numbers)}"
        self.address = f"s3://{self.name}"
        self.request("PUT", "")
        self._store = S3Store(
            self.name,
            endpoint=url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region=REGION,
            client_options={"allow_http": True},
        )

    @property
    def variables(self) -> Mapping[str, str]:
        """What a program needs to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }

    def request(self, method: str, path: str) -> bytes:
        """Send a request as it is; `path` begins behind the bucket."""
        request = Request(f"{self.url}/{self.name}{path}", method=method, data=b"")
        with urlopen(request, timeout=10) as reply:
            return bytes(reply.read())

    def put(self, key: str, data: bytes) -> None:
        """Put an object."""
        obstore.put(self._store, key, data)

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        return bytes(obstore.get(self._store, key).bytes())

    def modified(self, key: str) -> datetime:
        """When an object was written."""
        return obstore.head(self._store, key)["last_modified"]

    @property
    def names(self) -> list[str]:
        """The names of all objects."""
        return sorted(meta["path"] for page in obstore.list(self._store) for meta in page)


@contextmanager
def serving_s3() -> Iterator[str]:
    """Serve an S3; yields its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
