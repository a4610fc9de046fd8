"""What a command says of images that it cannot use."""

from __future__ import annotations

import typer


class Skipped:
    """Says of each image why it is left out, and keeps path and reason."""

    def __init__(self) -> None:
        self.images: list[list[str]] = []

    @property
    def count(self) -> int:
        """How many are left out."""
        return len(self.images)

    def __call__(self, path: str, reason: str) -> None:
        """Leave out the image at a path."""
        self.images.append([path, reason])
        typer.secho(f"skipped {path}: {reason}", fg="yellow", err=True)

    def __str__(self) -> str:
        """How many, for the end of a sentence; empty if none was."""
        return f"; {self.count} skipped" if self.count else ""
