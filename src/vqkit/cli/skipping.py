"""What a command says of images that it cannot use."""

from __future__ import annotations

import typer


class Skipped:
    """Says of each image why it is left out, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: str, reason: str) -> None:
        """Leave out the image at a path."""
        self.count += 1
        typer.secho(f"skipped {path}: {reason}", fg="yellow", err=True)

    def __str__(self) -> str:
        """How many, for the end of a sentence; empty if none was."""
        return f"; {self.count} skipped" if self.count else ""
