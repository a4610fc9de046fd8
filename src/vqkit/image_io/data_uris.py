"""Pictures inside of a page, as data URIs."""

from __future__ import annotations

import base64
import io

from PIL import Image

_JPEG_QUALITY = 90


def data_uri(picture: Image.Image) -> str:
    """An image as a data URI: the smaller of a PNG and a JPEG, which for photographs is less than half as large.

    Drawings are smaller as lossless PNG; the JPEG has no chroma subsampling, so the borders of completed regions stay sharp.
    """
    png, jpeg = io.BytesIO(), io.BytesIO()
    picture.save(png, format="PNG", optimize=True)
    picture.save(jpeg, format="JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    kind, content = min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda each: len(each[1]))
    return embedded(kind, content)


def embedded(kind: str, content: bytes) -> str:
    """An image file of a kind (png, jpeg) as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
