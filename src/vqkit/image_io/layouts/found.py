"""What `find_images` finds: a set of images, of which each component lies in a file of its own, or one file holds all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vqkit.interfaces import SplitName


class Member(NamedTuple):
    """Where one component of an image is: a file, and its channel there; None where the file has but one."""

    path: Path
    channel: int | None = None


class FoundImage(NamedTuple):
    """One image.

    `name`: unique in its split; a relative path without suffix, such as `plate1/cell_0007`, in the case it has on disk.
    `members`: the components that there are files for; a component that is not among them is a gap. Empty where `file` is set.
    `file`: the one file that holds all components (interleaved stacks, pages, colour pictures), or None.
    `label`: its class, or None. `key`: the key of its row in the table of conditions, or None where there is no row for it.
    """

    name: str
    members: Mapping[str, Member]
    file: Path | None = None
    label: str | None = None
    key: str | None = None

    @property
    def path(self) -> Path:
        """The file, or the first of the files."""
        return self.file or next(iter(self.members.values())).path


@dataclass(frozen=True)
class FoundSet:
    """Images below a directory, and how they lie there.

    `layout`: a phrase such as `one folder a component`; `pattern`: the same as a pattern that finds the same files.
    `components`: names, in order; empty where one file holds all components of an image, so that only the files know.
    `splits`: the images of each split that has any, in the order of their names; all are `train` where nothing divides them.
    `split_folders`: whether folders divide them. `classes`: sorted names. `summary`: one sentence with what was understood;
    `notes`: further sentences, one for each thing that was left out or that may be wrong.
    """

    layout: str
    pattern: str
    components: tuple[str, ...]
    splits: Mapping[SplitName, list[FoundImage]]
    classes: tuple[str, ...] = ()
    split_folders: bool = False
    summary: str = ""
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> list[FoundImage]:
        """The images of all splits in the order of their names, which begin with the split where folders divide them."""
        if not self.split_folders:
            return sorted((image for images in self.splits.values() for image in images), key=lambda image: image.name)
        return [image._replace(name=f"{split}/{image.name}") for split, images in self.splits.items() for image in images]
