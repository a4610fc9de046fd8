"""What the server of the page gives out, and to whom."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import vqkit
from command_runner import command_runner
from vqkit.app.guard import LOOPBACK, Guard
from vqkit.app.serving import check_address, is_loopback
from vqkit.cli.app import app
from vqkit.errors import ConfigError, DataError


def asked(address: str, path: str, host: str | None = None, body: Any = None) -> tuple[int, str, Any]:
    """Status, text and headers of an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_a_missing_extra_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = command_runner().invoke(app, ["app"])
    assert isinstance(result.exception, DataError)  # which the entry point prints, with exit code 2
    assert result.exception.message == "The page in the browser is made with the package gradio, which is not installed."
    assert result.exception.hint == "pip install 'vqkit[app]'"


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot be served at 127\.0\.0\.1, port {port}: .*in use.*--port"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


def test_a_host_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"There is no host 'no such host'"):
        check_address("no such host", 7860)


def test_which_addresses_are_those_of_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.2", "example.org", "::")))


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})


def guarded(path: str, host: str, hosts: frozenset[str] | None) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of what a guarded server answers."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": [(b"host", host.encode())]}
    asyncio.run(Guard(_answer, hosts)(scope, None, send))  # type: ignore[arg-type]
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LocalHost:1", "[::1]:7860", "[::1]"])
def test_this_machine_is_answered(host: str) -> None:
    status, headers = guarded("/", host, LOOPBACK)
    assert status == 200
    assert b"default-src 'self'" in headers[b"content-security-policy"]


@pytest.mark.parametrize("host", ["elsewhere.example:7860", "127.0.0.1.example", ""])
def test_other_names_of_this_machine_are_refused(host: str) -> None:
    assert guarded("/", host, LOOPBACK)[0] == 403
    assert guarded("/", host, None)[0] == 200


@pytest.mark.parametrize("path", ["/gradio_api/file=http://example.org/a.png", "/gradio_api/file=https:/example.org/a"])
def test_files_of_other_servers_are_not_fetched(path: str) -> None:
    assert guarded(path, "localhost", LOOPBACK)[0] == 403


PACKAGE = Path(vqkit.__file__)


@pytest.mark.parametrize(
    "file", ["/etc/passwd", str(PACKAGE), str(PACKAGE.parent / "pretrained" / "tyre" / "model.safetensors"), "said.txt", "."]
)
def test_files_that_were_not_uploaded_are_refused(served: str, file: str) -> None:
    for place in ("/gradio_api/file=", "/file=", "/gradio_api/file/"):
        status, text, _ = asked(served, f"{place}{file}")
        assert status in (403, 404) and "root:" not in text and "vqkit" not in text.replace(file, "")


def test_names_of_other_sites_are_refused_by_the_page(served: str) -> None:
    assert asked(served, "/")[0] == 200
    assert asked(served, "/", host="elsewhere.example")[0] == 403


def test_a_path_in_place_of_an_upload_is_refused(served: str) -> None:
    """As a program could ask that is no browser: the event of uploads, with a file that was not uploaded."""
    settings = json.loads(asked(served, "/config")[1])
    (event,) = [each["id"] for each in settings["dependencies"] if each["targets"][0][1] == "upload"]
    for number, path in enumerate(["/etc/passwd", "http://127.0.0.1:1/a.png"]):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        session = f"test{number}"
        asked(served, "/gradio_api/queue/join", body={"data": [[file], []], "fn_index": event, "session_hash": session})
        said = asked(served, f"/gradio_api/queue/data?session_hash={session}")[1]
        assert '"success":false' in said and "root:" not in said


def test_nothing_can_be_called_by_name(served: str) -> None:
    assert json.loads(asked(served, "/gradio_api/info")[1]) == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_the_page_asks_for_no_analytics_and_no_fonts(served: str) -> None:
    settings = json.loads(asked(served, "/config")[1])
    assert not settings["analytics_enabled"]
    assert settings["stylesheets"] == []
