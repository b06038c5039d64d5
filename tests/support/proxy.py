"""A proxy on a loopback port that breaks connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Breaking:
    """Passes connections on, and breaks the first ones after so many bytes of replies."""

    def __init__(self, target: str, after_bytes: int, times: int) -> None:
        where = urlsplit(target)
        self._target = (where.hostname or "", where.port or 80)
        self._after_bytes, self._times = after_bytes, times
        self.broken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(2**16):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with suppress(OSError), server, client:
            while data := server.recv(2**16):
                client.sendall(data)
                passed += len(data)
                if passed >= self._after_bytes and self.broken < self._times:
                    self.broken += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return


@contextmanager
def breaking(target: str, *, after_bytes: int, times: int) -> Iterator[Breaking]:
    """Yield such a proxy before the server at this URL."""
    proxy = Breaking(target, after_bytes, times)
    try:
        yield proxy
    finally:
        proxy.close()
