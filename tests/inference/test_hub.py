"""Models saved, published and loaded again, with a stand-in for the Hugging Face Hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import vqkit
from vqkit.errors import CheckpointError, DataError
from vqkit.inference import model_card
from vqkit.inference.hub import fetch, is_hub_name
from vqkit.inference.pipeline import Pipeline, load
from vqkit.storage.checkpoints import read_header

COMMIT = "c" * 40


class Stub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of the Hub to make a repository, commit files to it, validate a card, and download a file."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - of the class: a handler lives for one request
    asked: list[str] = []  # noqa: RUF012
    agents: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.asked.append(self.path)
        if self.path == "/api/repos/create":
            self._answer({"url": f"{self._base}/owner/name"})
        elif self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            answers = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for each in asked]
            self._answer({"files": answers})
        elif "/commit/main" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            commit = f"{self._base}/owner/name/commit/{COMMIT}"
            self._answer({"success": True, "commitOid": COMMIT, "commitUrl": commit, "hookOutput": ""})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        self._file(with_body=True)

    def _file(self, with_body: bool) -> None:
        self.asked.append(self.path)
        self.agents.append(self.headers.get("User-Agent", ""))
        content = self.files.get(self.path.removeprefix("/owner/name/resolve/main/"))
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if "/owner/name" not in self.path else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _answer(self, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    @property
    def _base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """huggingface_hub, which talks to the stand-in and keeps its cache in this test's folder."""
    package = pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.chdir(tmp_path)
    Stub.files, Stub.asked, Stub.agents = {}, [], []
    yield package
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(tiny_run: Path) -> Pipeline:
    return load(tiny_run, "cpu")


def test_a_folder_gives_the_same_model_to_the_bit(model: Pipeline, hub: Any, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "published")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = vqkit.load(folder, device="cpu")
    images = torch.rand(3, 5, 64, 32, generator=torch.Generator().manual_seed(0)) > 0.5
    assert torch.equal(again.inpaint(images, keep=["bt"]), model.inpaint(images, keep=["bt"]))
    assert again.digest == model.digest
    assert json.loads((folder / "config.json").read_text())["model"] == "vqvae"


def test_a_card_is_one_that_the_hub_accepts(model: Pipeline, hub: Any, tmp_path: Path) -> None:
    evaluated = {"evaluations": [{**EVALUATION, "digest": "of another model"}, {**EVALUATION, "digest": model.digest}]}
    kept = tmp_path / "run" / "checkpoints" / "step-1"
    model.save_pretrained(kept)  # a run of its own, so that the shared one is not changed
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps(evaluated))
    (tmp_path / "run" / "run.yaml").write_text("kind: model\ndata: {name: /home/someone/sections}\nseed: 3\n")
    load(kept, "cpu").save_pretrained(tmp_path / "licensed", licence="cc-by-4.0")
    card = hub.ModelCard.load(tmp_path / "licensed" / "README.md")
    card.validate()
    assert "/api/validate-yaml" in Stub.asked
    assert (card.data.library_name, card.data.license, card.data.pipeline_tag) == ("vqkit", "cc-by-4.0", "image-to-image")
    assert "| group_nc | binary | uint8 | 0 to 255 |" in card.text
    assert "| keep bt | 4 | IoU | 0.75 | 0.5 (copy) |" in card.text
    assert "name: sections\n" in card.text
    assert "/home/someone" not in card.text
    plain = hub.ModelCard.load(model.save_pretrained(tmp_path / "plain") / "README.md")
    assert plain.data.license is None
    assert "Not stated" in plain.text


EVALUATION: dict[str, Any] = {
    "images": 10,
    "split": "test",
    "parts": [
        {
            "name": "keep bt",
            "images": 4,
            "components": {"a": {}},
            "iou": {"a": 0.75},
            "mean_iou": 0.75,
            "psnr": 20.0,
            "floors": [{"name": "copy", "mean_iou": 0.5, "psnr": 9.0}, {"name": "mean", "mean_iou": 0.25, "psnr": 9.0}],
        }
    ],
}


def test_folders_of_the_owner_are_not_published(model: Pipeline, hub: Any, tmp_path: Path) -> None:
    from vqkit.config import NamedOptions
    from vqkit.inference.model_card import public_data

    given = NamedOptions(name="/home/someone/cells", layout=["a/b", 3], pattern=None)
    assert public_data(given) == NamedOptions(name="cells", layout=["b", 3], pattern=None)
    folder = model.save_pretrained(tmp_path / "published")
    assert read_header(folder / "model.safetensors")["data"]["name"] == "tyre"


def test_pushed_and_loaded_by_its_name(model: Pipeline, hub: Any) -> None:
    address = model.push_to_hub("owner/name", token="hf_stand_in")
    assert address.endswith(f"/owner/name/commit/{COMMIT}")
    assert set(Stub.files) == {"README.md", "config.json", "model.safetensors"}
    assert 'vqkit.load("owner/name")' in Stub.files["README.md"].decode()
    again = vqkit.load("owner/name", device="cpu")
    assert again.digest == model.digest
    assert any("vqkit" in each for each in Stub.agents)


def test_a_name_that_nobody_has(hub: Any) -> None:
    with pytest.raises(CheckpointError, match="There is no run at nobody/nothing, and no such model could be fetched"):
        load("nobody/nothing")


def test_a_hub_that_is_out_of_reach(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, **__: object) -> str:
        logging.getLogger("huggingface_hub.utils._http").warning("thrown while requesting HEAD")
        raise LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub.")

    shown: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", shown.append)
    logging.getLogger("huggingface_hub").addHandler(handler)
    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    with pytest.raises(CheckpointError, match="which may have such a model, cannot be reached") as caught:
        load("owner/unreachable")
    logging.getLogger("huggingface_hub").removeHandler(handler)
    assert "HF_HUB_OFFLINE" in caught.value.hint
    assert shown == []


def test_paths_are_not_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    assert is_hub_name("owner/name")
    assert is_hub_name("owner/name@v1.0")
    for path in ("runs/typo", "models/missing", "./name", "../name", "a/b/c", "name", "/owner/name", None, Path("owner/name")):
        assert not is_hub_name(path), path
    with pytest.raises(CheckpointError, match="There is no run at runs/typo"):
        load("runs/typo")


def test_a_missing_package_is_named(model: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vqkit.inference import hub as module

    module._mixin.cache_clear()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match="huggingface_hub, which is not installed"):
        model.save_pretrained(tmp_path / "out")
    with pytest.raises(CheckpointError, match="There is no run at owner/name") as caught:
        fetch("owner/name")
    assert "vqkit[hub]" in caught.value.hint


def test_the_card_compares_as_evaluations_do() -> None:
    floors = [
        {"name": "nearest", "mean_iou": 0.9, "psnr": 40.0, "pooled_psnr": 20.0},
        {"name": "linear", "mean_iou": 0.1, "psnr": 30.0, "pooled_psnr": 26.0},
    ]
    own = {"name": "keep a", "images": 7, "mean_iou": 0.5, "psnr": 35.0, "pooled_psnr": 25.0}
    part = {**own, "iou": {"shape": 0.5}, "components": {"shape": {}, "grey": {}}, "floors": floors}
    text = model_card._figures({"images": 9, "split": "test", "parts": [part]})
    assert "| known | images | measure | this model | best simple predictor |" in text
    assert "| keep a | 7 | pooled PSNR, dB | 25 | 26 (linear) |" in text
