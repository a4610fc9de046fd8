"""Models on the Hugging Face Hub, through huggingface_hub (`vqkit[hub]`): safetensors, JSON and a README, nothing else.

model.save_pretrained("folder")             model.safetensors, config.json, README.md
model.push_to_hub("owner/name")             the same, uploaded
vqkit.load("owner/name")                    or owner/name@revision
"""

from __future__ import annotations

import functools
import json
import logging
import re
from pathlib import Path
from typing import Any

from vqkit.core.atomic import write_text
from vqkit.core.optional_packages import optional_package
from vqkit.errors import CheckpointError, DataError, reason_of
from vqkit.inference.model_card import card_metadata, card_text, public_data
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded, write_model
from vqkit.storage.runs import MODEL_FILE, RUNS

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)


def is_hub_name(run: str | Path | None) -> bool:
    """Whether a run is a name on the Hub: owner/name or owner/name@revision, where there is no such path or folder here."""
    if not isinstance(run, str) or not _NAME.fullmatch(run):
        return False
    owner = run.split("/")[0]
    return owner not in (".", "..", str(RUNS)) and not Path(owner).exists() and not (RUNS / run).exists()


def fetch(name: str) -> Path:
    """The model.safetensors of a name on the Hub, from its cache on this machine or downloaded.

    Raises `CheckpointError` where it cannot be had, also without the extra.
    """
    try:
        hub = _package()
    except DataError as error:
        raise CheckpointError(f"There is no run at {name}. {error.message}", error.hint) from None
    repository, _, revision = name.partition("@")
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    usual = get_verbosity()
    set_verbosity(logging.ERROR)  # each attempt without a network is a warning
    try:
        return Path(hub.hf_hub_download(repository, MODEL_FILE, revision=revision or None, library_name="vqkit"))
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"There is no run at {name}, and the Hugging Face Hub, which may have such a model, cannot be reached.",
            "Check the name and the network; HF_HUB_OFFLINE=1 takes only what was fetched before.",
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"There is no run at {name}, and no such model could be fetched from the Hugging Face Hub: {reason_of(str(error))}.",
            "Check the name, the network, and for private models the login (`hf auth login`).",
        ) from None
    finally:
        set_verbosity(usual)


def publishing(loaded: Loaded, licence: str | None = None) -> Any:
    """The model as huggingface_hub's mixin: its `save_pretrained` and `push_to_hub`. Raises `DataError` without the extra."""
    return _mixin()(loaded, licence)


@functools.cache
def _mixin() -> Any:
    hub = _package()

    base: Any = hub.ModelHubMixin

    class Published(base, library_name="vqkit"):  # type: ignore[misc, call-arg]
        """A trained model; see `huggingface_hub.ModelHubMixin`."""

        def __init__(self, loaded: Loaded, licence: str | None) -> None:
            self.loaded, self.licence = loaded, licence

        def _save_pretrained(self, save_directory: Path) -> None:
            model = self.loaded.model
            write_model(save_directory / MODEL_FILE, model, public_data(self.loaded.data))
            content = {
                "library_name": "vqkit",
                "model": MODELS.name_of(model),
                "options": model.options.model_dump(mode="json"),
                "spec": model.spec.to_json(),
            }
            write_text(save_directory / "config.json", json.dumps(content, indent=2) + "\n")

        def generate_model_card(self, *arguments: Any, repo_id: str | None = None, **keywords: Any) -> Any:
            head = hub.ModelCardData(**card_metadata(self.loaded, self.licence))
            return hub.ModelCard(f"---\n{head.to_yaml()}\n---\n\n{card_text(self.loaded, repo_id, self.licence)}")

    return Published


def _package() -> Any:
    return optional_package("huggingface_hub", "hub", "Models are published and fetched")
