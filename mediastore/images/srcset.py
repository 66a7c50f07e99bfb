"""Writes a `srcset`: the same picture in several widths, for the browser to choose from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from mediastore.image_errors import BadTransform
from mediastore.images.formats import OUTPUTS
from mediastore.images.grammar import text
from mediastore.images.transform import Transform

WIDTHS_MAX: Final = 32


def srcset(
    source_url: str,
    transform: Transform,
    filename: str,
    widths: Sequence[int],
    *,
    sign: Callable[[str], str] | None = None,
) -> str:
    """The value of the attribute. `source_url` is `/media/{tenant}/{blob}`, with or without an
    origin before it; heights follow the transform's shape. `filename` ends in a format or `.auto`.

    `sign` makes the URL of a path as it reads, such as `mediastore.links.sign_link` does; without
    it the URLs are plain ones.

    Raises BadTransform for widths, or a filename, that no URL could have.
    """
    if not widths or len(widths) > WIDTHS_MAX:
        raise BadTransform(f"a srcset has 1 to {WIDTHS_MAX} widths")
    stem, _, extension = filename.rpartition(".")
    if not stem or (extension != "auto" and extension not in OUTPUTS):
        raise BadTransform("a file name of a picture ends in its format or .auto")
    if sign is None:
        stem = quote(stem, safe="")
    candidates = []
    for width in sorted(set(widths)):
        resized = _wide(transform, width)
        if extension != "auto":
            resized = resized.for_output(OUTPUTS[extension])
        url = f"{source_url}/{text(resized)}/{stem}.{extension}"
        candidates.append(f"{url if sign is None else sign(url)} {width}w")
    return ", ".join(candidates)


def _wide(transform: Transform, width: int) -> Transform:
    if transform.mode == "orig":
        return replace(transform, mode="fit", width=width)
    if not transform.width:
        raise BadTransform("a srcset needs a transform with a width")
    height = round(transform.height * width / transform.width)
    return replace(transform, width=width, height=max(1, height) if transform.height else 0)
