"""Where in a picture most is to be seen: what `focus-auto` keeps. Runs in worker processes only.

Detail (edges) and colour are summed up along the one side on which a crop may still move; the crop
goes where the sum is largest, and near the middle when that makes no difference. No faces are
looked for: it is quick, says the same every time and needs no model.
"""

from itertools import accumulate
from typing import Final

from PIL import Image, ImageChops, ImageFilter

from mediastore.images.geometry import Box, Frame

_SAMPLE_SIDE: Final = 256
_MIDDLE_BONUS: Final = 0.04


def attentive(found: Frame, image: Image.Image, region: Box) -> Frame:
    """The frame moved to where `image`, which is the source's `region`, has most to show."""
    axis = 0 if found.slack[0] >= found.slack[1] else 1
    if found.slack[axis] <= 0:
        return found
    detail = _detail(image)
    length = detail.size[axis]
    line = (length, 1) if axis == 0 else (1, length)
    profile = [float(value) for value in detail.resize(line, Image.Resampling.BOX).tobytes()]
    share = (found.box[axis + 2] - found.box[axis]) / (region[axis + 2] - region[axis])
    window = max(1, min(length, round(length * share)))
    best = _best_start(profile, window)
    room = length - window
    moved = best / room if room else 0.5
    return found.moved(moved, 0.5) if axis == 0 else found.moved(0.5, moved)


def _detail(image: Image.Image) -> Image.Image:
    """How much each spot shows, 0 to 255: edges, and colour that stands out."""
    sample = image.convert("RGB")
    sample.thumbnail((_SAMPLE_SIDE, _SAMPLE_SIDE), Image.Resampling.BILINEAR)
    grey = sample.convert("L").filter(ImageFilter.GaussianBlur(1))
    edges = grey.filter(ImageFilter.FIND_EDGES)
    # The filter leaves the outermost pixels as they were: they are no edges.
    inner = Image.new("L", edges.size, 0)
    inner.paste(edges.crop((1, 1, edges.width - 1, edges.height - 1)), (1, 1))
    saturation = sample.convert("HSV").getchannel("S").point([level // 8 for level in range(256)])
    return ImageChops.add(inner, saturation)


def _best_start(profile: list[float], window: int) -> int:
    sums = [0.0, *accumulate(profile)]
    room = len(profile) - window
    total = sums[-1] or 1.0

    def worth(start: int) -> float:
        off_middle = abs(2 * start - room) / room if room else 0.0
        return (sums[start + window] - sums[start]) / total - _MIDDLE_BONUS * off_middle

    return max(range(room + 1), key=worth)
