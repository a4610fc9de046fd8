"""A page that is served, for tests that ask it from outside."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SECONDS = 240


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page over the models that come with vqkit, started in a directory without runs."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the extra app is not installed")
    folder = tmp_path_factory.mktemp("served")
    port = free_port()
    words = [sys.executable, "-m", "vqkit", "app", "--port", str(port)]
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(words, cwd=folder, stdout=said, stderr=subprocess.STDOUT, env={**os.environ})
    try:
        _wait_until_ready(process, folder / "said.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_ready(process: subprocess.Popen[bytes], said: Path) -> None:
    end = time.monotonic() + _SECONDS
    while "open http" not in said.read_text():
        assert process.poll() is None and time.monotonic() < end, said.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="session")
def chromium() -> str | None:
    """The path of a Chromium of the system, None where Playwright has one of its own; skipped where there is neither."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).exists():
            return None
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("there is no Chromium")
