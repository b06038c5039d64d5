"""A simulated S3 in this process, on a loopback port."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

KEY = "AKIAPLANTEDKEY000001"
SECRET = "planted/secret/of/forty/characters/00000"
REGION = "us-east-1"


@dataclass
class Simulated:
    """A server with one bucket."""

    url: str
    store: S3Store

    @property
    def variables(self) -> Mapping[str, str]:
        """What a program needs to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }

    def put(self, key: str, data: bytes) -> None:
        """Put an object."""
        obstore.put(self.store, key, data)

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        return bytes(obstore.get(self.store, key).bytes())

    def keys(self) -> list[str]:
        """The names of all objects."""
        return sorted(meta["path"] for page in obstore.list(self.store) for meta in page)


@contextmanager
def simulated_s3(bucket: str = "bucket") -> Iterator[Simulated]:
    """Serve an S3 with an empty bucket."""
    import urllib.request

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        for method, path in (("POST", "/moto-api/reset"), ("PUT", f"/{bucket}")):
            request = urllib.request.Request(f"{url}{path}", method=method, data=b"")
            urllib.request.urlopen(request, timeout=10).close()
        store = S3Store(
            bucket,
            endpoint=url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region=REGION,
            client_options={"allow_http": True},
        )
        yield Simulated(url, store)
    finally:
        server.stop()
