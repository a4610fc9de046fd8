"""How files on disk become images of components: the one mechanism for data sets and for the directories that commands read.

    found = find_images(Path("cells"), pattern="{component}/{name}.tif")
    found.components, found.splits["train"][0].members["dna"].path

No picture is decoded, except for a few whose colours decide between two layouts.
"""

from __future__ import annotations

from vqkit.image_io.layouts.finding import are_components_apart, find_images
from vqkit.image_io.layouts.found import FoundImage, FoundSet, Member
from vqkit.image_io.layouts.naming import safe_name
from vqkit.image_io.layouts.patterns import Pattern

__all__ = ["FoundImage", "FoundSet", "Member", "Pattern", "are_components_apart", "find_images", "safe_name"]
