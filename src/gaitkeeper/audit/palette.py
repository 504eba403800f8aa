"""Drawings as PNG files with a palette: a third of the size of full color, and quickly made."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

COLORS = 256
"""Most colors of a palette."""


def palette_uri(image: np.ndarray) -> str | None:
    """Return a drawing as a ``data:`` address of a PNG with a palette.

    Args:
        image: uint8 ``(h, w, 3)``, RGB.

    Returns:
        None where the drawing has more than 256 colors.

    Reference:
        Portable Network Graphics specification, third edition, chapters 5 and 11.
    """
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    packed = red << 16 | green << 8 | blue
    # A table of all colors is faster than sorting the pixels.
    used = np.zeros(1 << 24, bool)
    used[packed] = True
    colors = np.flatnonzero(used)
    if len(colors) > COLORS:
        return None
    index = np.zeros(1 << 24, np.uint8)
    index[colors] = np.arange(len(colors))
    height, width = packed.shape
    rows = np.zeros((height, 1 + width), np.uint8)
    rows[:, 1:] = index[packed]
    palette = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
    data = b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
