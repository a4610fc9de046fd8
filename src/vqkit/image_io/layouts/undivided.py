"""Images that nothing divides into splits, though their names say that somebody did."""

from __future__ import annotations

from collections.abc import Callable

from vqkit.image_io.layouts.choosing import Choice
from vqkit.image_io.layouts.grouping import Match, match_files
from vqkit.image_io.layouts.naming import examples
from vqkit.image_io.layouts.patterns import Pattern
from vqkit.image_io.layouts.splits import PlacedFile
from vqkit.image_io.split_names import leading_split, trailing_split
from vqkit.interfaces import SplitName

_MOST = 0.9
"""Share of the images whose names say their split, from which on the names are said to look like splits."""
_SEPARATORS = "-_."


def undivided(choice: Choice) -> list[str]:
    """A note on images that are all used for training, though their classes, folders or names are those of several splits."""
    for text_of in _PLACES:
        texts = [text_of(match) for match in choice.matches]
        for meaning in (leading_split, trailing_split):
            known = {text: split for text in texts if (split := meaning(text)) is not None}
            if len(set(known.values())) > 1 and sum(text in known for text in texts) >= _MOST * len(texts):
                return [_note(choice, known, text_of is _base, meaning is leading_split)]
    return []


def _label(match: Match) -> str:
    return match.key.label or ""


def _folder(match: Match) -> str:
    return match.key.name.rpartition("/")[0].rpartition("/")[2]


def _base(match: Match) -> str:
    return match.key.name.rpartition("/")[2]


_PLACES: tuple[Callable[[Match], str], ...] = (_label, _folder, _base)


def _note(choice: Choice, known: dict[str, SplitName], in_names: bool, leads: bool) -> str:
    first = [next(text for text, split in known.items() if split == each) for each in dict.fromkeys(known.values())]
    pattern = _pattern(choice, known, leads) if in_names else None
    how = f"with data.pattern='{pattern}'" if pattern else "into folders called train and test"
    return f"Names look like those of splits ({examples(first)}), but all images are used for training: divide them {how}."


def _pattern(choice: Choice, known: dict[str, SplitName], leads: bool) -> str | None:
    """The pattern of the files with a place for the split beside the name; None if it does not find all of them."""
    for separator in _SEPARATORS:
        named = f"{{split}}{separator}{{name}}" if leads else f"{{name}}{separator}{{split}}"
        text = choice.pattern.replace("{name}", named, 1)
        if choice.pattern.count("{name}") != 1:
            return None
        files = [PlacedFile(match.file, None, match.file.relative) for match in choice.matches]
        found = match_files(Pattern(text), files)
        if len(found) == len(files) and {match.key.split for match in found} == set(known.values()):
            return text
    return None
