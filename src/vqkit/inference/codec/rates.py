"""What compressed images cost, in bits."""

from __future__ import annotations

from typing import Any, NamedTuple


class Rate(NamedTuple):
    """The cost of a file of images, bits.

    `codes` and `residual`: what these cost under their probabilities; `frame`: directory with names, digests, parameters of
    residuals. The file has `bytes`, a few more than all of them, because streams end at whole words. `pixels`: of all images, each
    place counted once, whatever its components.
    """

    images: int
    pixels: int
    codes: float
    residual: float
    frame: float
    bytes: int

    @property
    def total(self) -> float:
        """All bits that are accounted for."""
        return self.codes + self.residual + self.frame

    def to_json(self, path: str) -> dict[str, Any]:
        """Plain values, with the path of the file."""
        bits = {"codes": self.codes, "residual": self.residual, "frame": self.frame, "stated": self.total}
        return {
            "file": path,
            "images": self.images,
            "pixels": self.pixels,
            "bits": {name: round(value, 1) for name, value in bits.items()},
            "bytes": self.bytes,
            "bits_per_pixel": 8 * self.bytes / self.pixels if self.pixels else None,
        }
