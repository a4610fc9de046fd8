"""`vqkit train-vqvae`."""

from __future__ import annotations


def train_vqvae() -> None:
    """Train."""
