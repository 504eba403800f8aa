"""Chromium without a window, driven over the DevTools protocol through a pair of pipes."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
    *("--no-default-browser-check", "--disable-default-apps", "--mute-audio", "--hide-scrollbars"),
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--remote-debugging-pipe",
)
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


class Browser:
    """A browser with one page. Use as a context manager; it ends, and its profile is deleted.

    A test is skipped where there is no Chromium.

    Args:
        seconds: how long anything may take.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no Chromium is installed")
        self.seconds = seconds
        self.requests: list[str] = []
        self.messages: list[str] = []
        self._number, self._data = 0, b""
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads commands from file 3 and answers on file 4. Copies above them are not overwritten by these.
        high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10) for file in (theirs_in, theirs_out)]
        actions = [
            (os.POSIX_SPAWN_DUP2, high[0], 3),
            (os.POSIX_SPAWN_DUP2, high[1], 4),
            *((os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_RDWR, 0) for file in (0, 1, 2)),
        ]
        command = [program, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = os.posix_spawn(program, command, os.environ, file_actions=actions, setpgroup=0)
        for file in (theirs_in, theirs_out, *high):
            os.close(file)
        self._session = None

    def __enter__(self) -> "Browser":
        try:
            found = self.call("Target.getTargets")["targetInfos"]
            page = next(target["targetId"] for target in found if target["type"] == "page")
            self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def call(self, method: str, **values: object) -> dict:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        limit = time.monotonic() + self.seconds
        while True:
            answer = self._receive(limit, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self, limit: float, what: str) -> dict:
        while b"\0" not in self._data:
            if not select.select([self._in], [], [], max(0.0, limit - time.monotonic()))[0]:
                raise TimeoutError(f"{what}: no answer from the browser in {self.seconds:g} s")
            data = os.read(self._in, 2**16)
            if not data:
                raise RuntimeError(f"{what}: the browser ended")
            self._data += data
        line, _, self._data = self._data.partition(b"\0")
        event = json.loads(line)
        values = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif event.get("method") == "Log.entryAdded":
            self.messages.append(values["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.messages.append(values["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return event

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})")

    def run(self, script: str) -> object:
        """Return the value of a script's last expression."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']['exception'].get('description')}")
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a script's last expression is true, on whatever page is then there."""
        limit = time.monotonic() + self.seconds
        while True:
            try:
                if self.run(f"document.readyState === 'complete' && !!({condition})"):
                    return
            except RuntimeError:
                # A page that is being left answers no more; what follows it will.
                if time.monotonic() > limit:
                    raise
            if time.monotonic() > limit:
                raise TimeoutError(f"not true in {self.seconds:g} s: {condition}; page: {self.text()[:300]}")
            time.sleep(0.02)

    def text(self) -> str:
        """Return what the page says."""
        return str(self.run("document.body.innerText"))

    def click(self, selector: str) -> None:
        """Click into the middle of the first element that a selector finds, as a mouse does."""
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null")
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key: a character, ``Tab`` or ``Enter``."""
        code = KEYS.get(key) or ord(key.upper())
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        values = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **values)
        self.call("Input.dispatchKeyEvent", type="keyUp", **values)

    def type(self, text: str) -> None:
        """Write into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int) -> None:
        """Give the window a size, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, file: Path) -> None:
        """Write what is seen of the whole page as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))
