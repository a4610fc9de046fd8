"""From a directory to the images in it: files are listed, placed in splits, put together by a pattern, and described."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from vqkit.errors import ConfigError, DataError
from vqkit.image_io.formats import IMAGE_SUFFIXES
from vqkit.image_io.layouts.checking import check_components, check_splits
from vqkit.image_io.layouts.choosing import Choice, choose_by_pattern, choose_known, choose_whole
from vqkit.image_io.layouts.describing import lonely, summarise
from vqkit.image_io.layouts.found import FoundImage, FoundSet, Member
from vqkit.image_io.layouts.grouping import ImageFiles, ImageKey, drop_repeated, group_components, group_whole
from vqkit.image_io.layouts.naming import counted, examples, ordered_components
from vqkit.image_io.layouts.splits import PlacedFile, place_files, split_by_table
from vqkit.image_io.layouts.undivided import undivided
from vqkit.image_io.layouts.walking import Walk
from vqkit.image_io.tables import TABLE, ConditionTable
from vqkit.interfaces import SPLITS, SplitName


def find_images(
    root: Path,
    pattern: str | None = None,
    components: Sequence[str] | None = None,
    *,
    exclude: Path | None = None,
    table: ConditionTable | None = None,
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
    require_components: bool = True,
    one_file: bool = False,
) -> FoundSet:
    """The images below a directory, as a pattern describes them or as a known layout has them.

    `pattern`: see `Pattern`; relative to the folders of the splits where there are any. `components`: names that are wanted, in
    this order. `exclude`: a directory whose files are left out. `table`: its flags divide images where no folders do, and its keys
    are matched to the images. `suffixes`: of the files that count. `require_components`: whether every component that is wanted
    must be there; without, those that have no files are gaps in all images, and folders named for splits that have other files
    beside them are ordinary ones, so that nothing is left out. `one_file`: without a pattern, every file is an image.

    Raises `ConfigError` for a pattern that is none or a component named twice, and `DataError` when there are no images, when the
    pattern matches none of them, when a component has two files in one image or none in any, when splits differ in their
    components, and when the table divides images and has a row for none of them.
    """
    _check_distinct(components or ())
    walk = Walk(root, suffixes, exclude)
    if not walk.files:
        known = f"Files that can be read end in {', '.join(sorted(suffixes))}; hidden ones are skipped."
        raise DataError(f"There are no images in {root}.", known)
    notes: Sequence[str] = ()
    if "{split}" in (pattern or ""):
        placed = [PlacedFile(file, None, file.relative) for file in walk.files]
    else:
        placed, notes = place_files(walk.files, root, strict=require_components)
    if pattern is not None:
        choice = choose_by_pattern(pattern, placed, walk.files, components, suffixes, root)
    elif one_file:
        choice = choose_whole(placed)
    else:
        choice = choose_known(placed, components, (root / TABLE).is_file(), require_components)
    grouped, more = _grouped(choice, root)
    names = _component_names(choice, grouped, components)
    images = [_image(key, files, names) for key, files in grouped.items()]
    if table is not None:
        rows = table.match([image.name for image in images])
        images = [image._replace(key=rows.get(image.name)) for image in images]
    has_folders = any(key.split is not None for key in grouped)
    splits, flagged = _divided(images, list(grouped), table if not has_folders else None)
    if require_components:
        held = {name for files in grouped.values() for name in files if name is not None}
        check_components(held, choice.others, names, root)
        check_splits(splits if has_folders else {}, names, root)
        more += lonely(images, names, placed)
    if require_components and pattern is None and list(splits) == ["train"] and not has_folders:
        more += undivided(choice)
    classes = tuple(sorted({image.label for image in images if image.label is not None}))
    summary = summarise(choice.layout, names, splits, classes)
    notes = [*walk.notes, *notes, *choice.notes, *more, *flagged]
    return FoundSet(choice.layout, choice.pattern, names, splits, classes, has_folders, summary, tuple(notes))


def are_components_apart(root: Path) -> bool:
    """Whether components are found in files of their own below a directory: what `find_images` decides first.

    Raises `DataError` when the directory cannot be listed, or has two folders for one split.
    """
    placed, _ = place_files(Walk(root, IMAGE_SUFFIXES).files, root)
    return choose_known(placed, None, (root / TABLE).is_file(), True).are_apart


def _check_distinct(components: Sequence[str]) -> None:
    twice = [name for name in components if list(components).count(name) > 1]
    if twice:
        raise ConfigError(f"The component {twice[0]} is named twice.", "Name each component once.")


def _component_names(choice: Choice, grouped: Mapping[ImageKey, ImageFiles], components: Sequence[str] | None) -> tuple[str, ...]:
    """The components in their order; none where one file holds them all."""
    if not choice.are_apart:
        return ()
    if components is not None:
        return tuple(components)
    return ordered_components(list({name for files in grouped.values() for name in files if name is not None}))


def _grouped(choice: Choice, root: Path) -> tuple[dict[ImageKey, ImageFiles], list[str]]:
    """The files of each image in the order of splits and names, and notes on what is dropped or easily mistaken."""
    grouped = group_components(choice.matches) if choice.are_apart else group_whole(choice.matches)
    # A pattern without a name describes a single image, which is called what the directory is.
    named = {key if key.name else key._replace(name=root.resolve().name): files for key, files in grouped.items()}
    order = sorted(named, key=lambda key: (SPLITS.index(key.split or "train"), key.full_name))
    kept, dropped = drop_repeated({key: named[key] for key in order})
    notes = []
    if dropped:
        notes.append(f"Skipped {counted(len(dropped), 'image')} whose files are links to those of another: {examples(dropped)}.")
    alike: dict[object, list[str]] = defaultdict(list)
    for key in kept:
        alike[key.split, key.full_name.casefold()].append(key.full_name)
    pairs = [" and ".join(names) for names in alike.values() if len(names) > 1]
    if pairs:
        notes.append(f"Names that differ in case alone are different images: {examples(pairs)}.")
    return kept, notes


def _image(key: ImageKey, files: ImageFiles, components: Sequence[str]) -> FoundImage:
    if None in files:
        return FoundImage(key.full_name, {}, files[None].path, key.label)
    members = {name: Member(files[name].path) for name in components if name in files}
    return FoundImage(key.full_name, members, None, key.label)


def _divided(
    images: Sequence[FoundImage], keys: Sequence[ImageKey], table: ConditionTable | None
) -> tuple[dict[SplitName, list[FoundImage]], list[str]]:
    """The images of each split that has any: of its folder, or by the flags of a table, or all for training."""
    if table is not None:
        return split_by_table(images, table)
    splits: dict[SplitName, list[FoundImage]] = {}
    for name in SPLITS:
        chosen = [image for image, key in zip(images, keys, strict=True) if (key.split or "train") == name]
        if chosen:
            splits[name] = chosen
    return splits, []
