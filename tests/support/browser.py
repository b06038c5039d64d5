"""A headless Chromium, driven by its DevTools protocol over two pipes.

https://chromedevtools.github.io/devtools-protocol/ (read 2026-11-26)
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
_PATIENCE_S = 40


class Tab:
    """One page, and what it has said and asked for."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = read
        self._pending = b""
        self._number = 0
        self._session: str | None = None
        self.said: list[str] = []
        """What stands in the console: errors, warnings, messages, broken policies."""
        self.requests: list[str] = []
        """Every address that was asked for, but the page's own."""

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply["error"]
                return reply["result"]
            self._note(reply)

    def attach(self) -> None:
        """Begin with an empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, dark: bool = False, width: int = 1200) -> None:
        """Show a file, and wait until it has been read."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=path.as_uri())
        ends = time.monotonic() + _PATIENCE_S
        blank = "location.href === 'about:blank' || document.readyState !== 'complete'"
        while self.value(blank):
            assert time.monotonic() < ends, "the page is never complete"
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed
            )

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        shown = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shown["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            data = os.read(self._read, 2**16)
            assert data, "the browser has ended"
            self._pending += data
        message, _, self._pending = self._pending.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.said.append(f"a dialog: {params['message']}")
        elif method == "Network.requestWillBeSent" and params.get("type") != "Document":
            self.requests.append(params["request"]["url"])


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A page in a browser of its own; `profile` is a folder for its files."""
    assert BROWSER is not None
    to_browser, from_browser = os.pipe(), os.pipe()
    wires = f"exec 3<&{to_browser[0]} 4>&{from_browser[1]}; "
    flags = "--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run"
    command = f'{wires} exec "$0" {flags} --disable-dev-shm-usage "--user-data-dir=$1" about:blank'
    process = subprocess.Popen(
        ["bash", "-c", command, BROWSER, str(profile)],
        pass_fds=(to_browser[0], from_browser[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        found = Tab(to_browser[1], from_browser[0])
        found.attach()
        yield found
    finally:
        process.kill()
        process.wait()
        os.close(to_browser[1])
        os.close(from_browser[0])
