"""A prior as a codec beside other formats:
`python benchmarks/codec.py --run PRIOR_RUN --images DIRECTORY [--limit N] [--lossless] [--draw-steps T] [--out FILE]`.

With loss, for colour or greyscale pictures of 8 bits: bits a pixel, PSNR (of the mean squared error over all pictures, whole scale
255) and seconds of vqkit; the same of WebP, AVIF and JPEG XL at several qualities; what they need for the PSNR of vqkit, and which
PSNR they reach with its bits, interpolated between qualities (null where none of them reaches it).

Without loss, for any components: bytes beside PNG (optimised; one bit a pixel for shapes) and JPEG XL (effort 7), one greyscale
picture a component, or one picture of colours.

vqkit has one file for all pictures. So every other format is measured twice: a file for each picture, as archives have them, and
one sheet of all pictures, on which the headers count once. A model's size is not counted.
"""

from __future__ import annotations

import argparse
import io
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from common.machine import describe_machine, describe_versions, publish
from vqkit.image_io.inputs import Item, find_inputs
from vqkit.image_io.reading import ReadOptions, read_images
from vqkit.inference.codec.compressing import check_image, compress_items
from vqkit.inference.codec.decompressing import decompress_file
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.storage.compressed_files import open_compressed

Picture = NDArray[Any]
"""[H, W] or [H, W, 3], uint8, uint16 or bool."""
QUALITIES = (0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
DISTANCES = (25, 20, 15, 12, 10, 8, 6, 4, 3, 2, 1)


class Format(NamedTuple):
    """How a picture is encoded at a quality, and decoded."""

    encode: Callable[[Picture, float], bytes]
    decode: Callable[[bytes], Picture]


class Measured(NamedTuple):
    """Bytes and seconds of pictures, and what they are decoded to."""

    size: int
    encode_seconds: float
    decode_seconds: float
    decoded: list[Picture]


def with_pillow(name: str, **options: Any) -> Format:
    def encode(picture: Picture, quality: float) -> bytes:
        file = io.BytesIO()
        chosen = {"quality": int(quality)} if quality >= 0 else {}
        Image.fromarray(picture).save(file, name, **chosen, **options)
        return file.getvalue()

    def decode(content: bytes) -> Picture:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture)

    return Format(encode, decode)


def jpeg_xl(lossless: bool) -> Format:
    def encode(picture: Picture, distance: float) -> bytes:
        values = picture.astype(np.uint8) * 255 if picture.dtype == bool else picture
        content: bytes = imagecodecs.jpegxl_encode(values, effort=7, **({"lossless": True} if lossless else {"distance": distance}))
        return content

    def decode(content: bytes) -> Picture:
        decoded: Picture = imagecodecs.jpegxl_decode(content)
        return decoded

    return Format(encode, decode)


LOSSY = {
    "webp": (with_pillow("WEBP", method=6), QUALITIES),
    "avif": (with_pillow("AVIF", speed=4), QUALITIES),
    "jpeg xl": (jpeg_xl(False), DISTANCES),
}
LOSSLESS = {"png": with_pillow("PNG", optimize=True), "jpeg xl": jpeg_xl(True)}


def measured(format_: Format, quality: float, pictures: Sequence[Picture]) -> Measured:
    start = time.perf_counter()
    files = [format_.encode(picture, quality) for picture in pictures]
    between = time.perf_counter()
    decoded = [format_.decode(file) for file in files]
    return Measured(sum(map(len, files)), between - start, time.perf_counter() - between, decoded)


def sheet(pictures: Sequence[Picture]) -> Picture:
    """All pictures of one size on one, as square as possible; what is left over is empty."""
    columns = math.ceil(math.sqrt(len(pictures)))
    empty = [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    whole = [*pictures, *empty]
    rows = [np.concatenate(whole[start : start + columns], axis=1) for start in range(0, len(whole), columns)]
    return np.concatenate(rows)


def cut(whole: Picture, like: Sequence[Picture]) -> list[Picture]:
    """The inverse of `sheet`."""
    height, width = like[0].shape[:2]
    columns = whole.shape[1] // width
    places = (divmod(number, columns) for number in range(len(like)))
    return [whole[row * height : (row + 1) * height, column * width : (column + 1) * width] for row, column in places]


def psnr(given: Sequence[Picture], decoded: Sequence[Picture]) -> float:
    error = np.mean([np.mean((one.astype(float) - other.astype(float)) ** 2) for one, other in zip(given, decoded, strict=True)])
    return float(10 * math.log10(255**2 / max(float(error), 1e-9)))


def figures(size: int, pixels: int, encode: float, decode: float) -> dict[str, Any]:
    return {
        "bytes": size,
        "bits_per_pixel": round(8 * size / pixels, 5),
        "encode_seconds": round(encode, 3),
        "decode_seconds": round(decode, 3),
    }


def curve(name: str, pictures: Sequence[Picture], together: bool) -> list[dict[str, Any]]:
    """Bits a pixel and PSNR of a format at its qualities, cheapest first."""
    format_, qualities = LOSSY[name]
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures)
    points = []
    for quality in qualities:
        found = measured(format_, quality, [sheet(pictures)] if together else pictures)
        decoded = cut(found.decoded[0], pictures) if together else found.decoded
        row = figures(found.size, pixels, found.encode_seconds, found.decode_seconds)
        points.append({"quality": quality, **row, "psnr": round(psnr(pictures, decoded), 3)})
    return sorted(points, key=lambda point: point["bytes"])


def at(points: Sequence[dict[str, Any]], known: str, value: float, wanted: str) -> float | None:
    """A figure where another has this value, linear between neighbouring points; None beyond all of them."""
    for low, high in pairwise(points):
        if low[known] <= value <= high[known] and low[known] < high[known]:
            share = (value - low[known]) / (high[known] - low[known])
            return round(low[wanted] + share * (high[wanted] - low[wanted]), 5)
    return None


def read(items: Sequence[Item], sampler: Sampler, lossless: bool) -> dict[str, torch.Tensor]:
    """Stored images [C, H, W] by name."""

    def skip(path: str, reason: str) -> None:
        print(f"skipped {path}: {reason}")

    spec = sampler.pipeline.spec
    found = read_images(items, spec, ReadOptions(), skip, lambda image: check_image(image, spec, lossless))
    return {image.name: image.image for image in found}


def compress(
    sampler: Sampler, items: list[Item], lossless: bool, draw_steps: int | None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The figures of vqkit, and what the images are decoded to."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "images.vqk"), Path(folder, "out")
        start = time.perf_counter()
        rate = compress_items(sampler, items, file, ReadOptions(), lambda *_: None, lambda _: None, draw_steps, lossless)
        between = time.perf_counter()
        list(decompress_file(sampler, open_compressed(file), out))
        end = time.perf_counter()
        decoded = read(find_inputs(out, sampler.pipeline.spec).items, sampler, False)
    row = figures(rate.bytes, rate.pixels, between - start, end - between)
    return {**row, "bits": rate.to_json("")["bits"]}, decoded


def as_pictures(images: Sequence[torch.Tensor]) -> list[Picture]:
    """Images uint8 [C, H, W] of one or three channels as pictures."""
    return [np.ascontiguousarray(image.permute(1, 2, 0).squeeze(2).numpy()) for image in images]


def components_of(images: Sequence[torch.Tensor], sampler: Sampler) -> Iterator[tuple[str, list[Picture]]]:
    """The pictures by which other formats hold the images: of each component, or of all as colours."""
    spec = sampler.pipeline.spec
    if spec.is_colour:
        yield "colours", as_pictures(images)
        return
    for number, each in enumerate(spec.component_specs):
        planes = [image[number].numpy().astype(each.dtype) for image in images]
        yield each.name, [plane == each.high for plane in planes] if each.kind == "binary" else planes


def lossless_figures(images: Sequence[torch.Tensor], sampler: Sampler) -> dict[str, Any]:
    report: dict[str, Any] = {}
    pixels = sum(image.shape[1] * image.shape[2] for image in images)
    for name, format_ in LOSSLESS.items():
        for how in ("files", "sheet"):
            total = Measured(0, 0, 0, [])
            for _, pictures in components_of(images, sampler):
                found = measured(format_, -1, [sheet(pictures)] if how == "sheet" else pictures)
                total = added(total, found)
            report[f"{name}, {how}"] = figures(total.size, pixels, total.encode_seconds, total.decode_seconds)
    return report


def added(total: Measured, more: Measured) -> Measured:
    """The sums of two measurements, without pictures."""
    return Measured(
        total.size + more.size, total.encode_seconds + more.encode_seconds, total.decode_seconds + more.decode_seconds, []
    )


def lossy_figures(pictures: Sequence[Picture], own: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for name in LOSSY:
        for how in ("files", "sheet"):
            points = curve(name, pictures, how == "sheet")
            report[f"{name}, {how}"] = {
                "bits_per_pixel_at_the_psnr_of_vqkit": at(points, "psnr", own["psnr"], "bits_per_pixel"),
                "psnr_at_the_bits_of_vqkit": at(points, "bits_per_pixel", own["bits_per_pixel"], "psnr"),
                "points": points,
            }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="a run of train-prior")
    parser.add_argument("--images", type=Path, required=True, help="a directory of images, as for vqkit compress")
    parser.add_argument("--limit", type=int, default=256, help="images at most, evenly spread over the directory")
    parser.add_argument("--lossless", action="store_true")
    parser.add_argument("--draw-steps", type=int, help="of a masked prior; default: one code a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sampler = load_sampler(arguments.run, device="cpu")
    items = find_inputs(arguments.images, sampler.pipeline.spec).items
    count = min(arguments.limit, len(items))
    items = [items[number * len(items) // count] for number in range(count)]
    given = read(items, sampler, arguments.lossless)
    own, decoded = compress(sampler, items, arguments.lossless, arguments.draw_steps)
    assert given.keys() == decoded.keys(), "what is decoded has the names of what was given"
    images = list(given.values())
    report = {
        "benchmark": "codec",
        "machine": describe_machine(),
        "versions": describe_versions("pillow", "imagecodecs", "constriction"),
        "run": Path(arguments.run).name,
        "data": sampler.pipeline.spec.name,
        "images": len(images),
        "size": [*images[0].shape],
        "draw_steps": arguments.draw_steps,
    }
    if arguments.lossless:
        assert all(torch.equal(given[name], decoded[name]) for name in given), "every value returns"
        report |= {"lossless": {"vqkit": own, **lossless_figures(images, sampler)}}
    else:
        pictures, restored = as_pictures(images), as_pictures([decoded[name] for name in given])
        own["psnr"] = round(psnr(pictures, restored), 3)
        report |= {"lossy": {"vqkit": own, **lossy_figures(pictures, own)}}
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
