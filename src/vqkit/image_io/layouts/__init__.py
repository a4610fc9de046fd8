"""How files on disk become images of components: the one mechanism for data sets and for the directories that commands read.

    find_images(root, pattern=None, components=None, *, exclude=None, table=None, suffixes=IMAGE_SUFFIXES, require_components=True)

gives a `FoundSet`. No picture is decoded, except for a few whose colours decide between two layouts.
"""

from __future__ import annotations

from vqkit.image_io.layouts.found import FoundImage, FoundSet, Member

__all__ = ["FoundImage", "FoundSet", "Member"]
