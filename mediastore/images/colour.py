"""Any picture's pixels as 8-bit sRGB or grey, with or without transparency.

Runs in worker processes only.
"""

import io
from functools import cache
from typing import Final

from PIL import Image, ImageCms

from mediastore.image_errors import ImageRefused

_PROFILE_MAX_BYTES: Final = 4 * 1024 * 1024
_SIXTEEN_BITS: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_COLOUR_SPACES: Final = {"RGB ": "RGB", "CMYK": "CMYK", "GRAY": "L", "Lab ": "LAB"}


def eight_bits(image: Image.Image) -> Image.Image:
    """In a mode that can be resized well: L, RGB, RGBA, CMYK or LAB. Raises ImageRefused."""
    if image.mode in _SIXTEEN_BITS:
        return _high_bytes(image)
    if image.mode in ("I", "F"):
        raise ImageRefused("pixels of 32 bits a channel are not shown")
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB")


def srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In sRGB by the picture's own profile; without one, or with one that is not of its kind, by
    what its mode usually means.
    """
    converted = _by_profile(image, profile) if profile else None
    if converted is not None:
        return converted
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, lab, _srgb_profile(), outputMode="RGB")
        if converted is None:
            raise ImageRefused("the picture's colours cannot be converted")
        return converted
    return image.convert("RGB")


def _high_bytes(image: Image.Image) -> Image.Image:
    little = image.convert("I;16") if image.mode != "I;16" else image
    return Image.frombytes("L", little.size, little.tobytes()[1::2])


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    if len(profile) > _PROFILE_MAX_BYTES:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        about = opened.profile
        mode = _COLOUR_SPACES.get(about.xcolor_space)
        pixels = "RGB" if image.mode == "RGBA" else image.mode
        if mode != pixels:
            return None
        if mode == "RGB" and "srgb" in (about.profile_description or "").lower():
            return image
        if mode == "L":  # grey stays grey: only its tone curve would change
            return image
        if image.mode == "RGBA":
            converted = ImageCms.profileToProfile(image.convert("RGB"), opened, _srgb_profile())
            if converted is None:
                return None
            converted.putalpha(image.getchannel("A"))
            return converted
        return ImageCms.profileToProfile(image, opened, _srgb_profile(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
