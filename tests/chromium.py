"""A headless Chromium that tests drive by the DevTools protocol, over a pipe, with no package."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
    *("--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--mute-audio"),
)
_SECONDS = 120


class Page:
    """A page in a browser; see `open_page`.

    Attributes:
        problems: errors and warnings of the console, exceptions, and what the policy refused.
        requests: addresses that the page asked for, itself and pictures inside it left out.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.problems: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol returns."""
        return self._browser.call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + _SECONDS
        value = None
        while not value:
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.02)
            try:
                value = self.run(script)
            except AssertionError as error:  # of a page that is loaded anew meanwhile
                if "target navigated" not in str(error):
                    raise
        return value

    def frames(self, count: int = 2) -> None:
        """Wait until so many frames were drawn."""
        self.run(
            f"new Promise(done => {{ let left = {count}; const next = () => left-- ? "
            "requestAnimationFrame(next) : done(true); next(); })"
        )

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: moved, pressed, released, wheel."""
        button = {"button": "left", "clickCount": 1} if kind in ("pressed", "released") else {}
        kind = f"mouse{kind.capitalize()}"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button, **more)

    def click(self, x: float, y: float) -> None:
        """Press and release the left button."""
        for kind in ("moved", "pressed", "released"):
            self.mouse(kind, x, y)

    def faults(self) -> list[str]:
        """What axe calls serious or critical, with the elements; skips where there is no axe."""
        script = _axe()
        self.call("Page.setBypassCSP", enabled=True)  # of the page, not of axe
        self.call("Page.reload")
        self.wait("document.readyState === 'complete' && !window.axe")
        self.frames()
        self.call("Runtime.evaluate", expression=script)
        found = self.run("axe.run().then(found => found.violations)")
        return [
            f"{fault['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"][:5]
        ]

    def screenshot(self, path: Path | None = None) -> bytes:
        """What is seen, as the bytes of a PNG, written to a file if one is given."""
        import base64

        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(picture)
        return picture


class Browser:
    """A running browser; see `chromium`."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._waiting = b""
        self._pages: dict[str, Page] = {}

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol returns; events that come before it go to their pages."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        content = memoryview(json.dumps(message).encode() + b"\0")
        while content:
            content = content[os.write(self._to, content) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._event(answer)

    def open_page(self, address: str, width: int = 1280, height: int = 800) -> Page:
        """A new page of this size, loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        page.call("Page.navigate", url=address)
        page.wait("location.href !== 'about:blank' && document.readyState === 'complete'")
        page.frames()
        return page

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "Chromium ended"
            self._waiting += data
        message, self._waiting = self._waiting.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _event(self, event: dict[str, Any]) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is None:
            return
        values = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            page.problems.append(json.dumps(values["exceptionDetails"])[:500])
        elif event["method"] == "Runtime.consoleAPICalled":
            if values["type"] in ("error", "warning", "assert"):
                page.problems.append(json.dumps(values["args"])[:500])
        elif event["method"] == "Log.entryAdded":
            if values["entry"]["level"] in ("error", "warning"):
                page.problems.append(values["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            url = values["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                page.requests.append(url)


def _axe() -> str:
    """The script of axe-core, which is no part of this project; skips the test where it is not."""
    path = os.environ.get("DEEPLOC_TF_AXE")
    if path is None:
        package = importlib.util.find_spec("axe_playwright_python")
        if package is None or package.origin is None:
            pytest.skip("no axe here: pip install axe-playwright-python, or set DEEPLOC_TF_AXE")
        path = str(Path(package.origin).with_name("axe.min.js"))
    return Path(path).read_text("utf-8")


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser without a profile or a network of its own; skips the test where there is none.

    Args:
        folder: for its files, and its downloads.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no chromium here: apt-get install chromium")
    read_here, write_there = os.pipe()
    read_there, write_here = os.pipe()
    # The browser reads from descriptor 3 and writes to 4.
    shell = f'exec "$0" "$@" 3<&{read_there} 4>&{write_there}'
    command = ["bash", "-c", shell, program, *_FLAGS, f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(
        command, pass_fds=(read_there, write_there), stderr=subprocess.DEVNULL
    )
    os.close(read_there)
    os.close(write_there)
    try:
        browser = Browser(write_here, read_here)
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        yield browser
        with contextlib.suppress(AssertionError, OSError):
            browser.call("Browser.close")
    finally:
        os.close(write_here)
        os.close(read_here)
        process.kill()
        process.wait()
