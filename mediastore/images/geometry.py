"""From a source's size and a transform to what is cut out, how large it gets, and where it goes.

Pure arithmetic on upright pictures. Nothing is enlarged unless the transform says so.
"""

from dataclasses import dataclass

from mediastore.image_errors import ImageRefused
from mediastore.images.transform import Transform

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """What is cut out of the source (`box`, in its pixels), the `size` that it is drawn in, and the
    `canvas` in whose middle it stands. `slack`: how far the box may still move, right and down.
    """

    box: Box
    size: Size
    canvas: Size
    slack: tuple[float, float] = (0.0, 0.0)

    @property
    def scale(self) -> float:
        """Of what is drawn to what is cut out, at most."""
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return max(self.size[0] / width, self.size[1] / height)

    def moved(self, right: float, down: float) -> "Frame":
        """With the box elsewhere in its slack; `right` and `down` are shares of it, 0 to 1."""
        left, top = self.box[0] + self.slack[0] * right, self.box[1] + self.slack[1] * down
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return Frame((left, top, left + width, top + height), self.size, self.canvas)


def frame(source: Size, transform: Transform) -> Frame:
    """Where everything goes; of `fill` the box is the first that fits. Raises ImageRefused when the
    crop lies outside of the picture.
    """
    left, top, width, height = _region(source, transform)
    box = (float(left), float(top), float(left + width), float(top + height))
    if transform.mode == "orig":
        return Frame(box, (width, height), (width, height))
    if transform.mode == "fill":
        return _fill((left, top, width, height), transform)
    scale = min(
        transform.width / width if transform.width else float("inf"),
        transform.height / height if transform.height else float("inf"),
    )
    if not transform.enlarge:
        scale = min(scale, 1.0)
    size = (_side(width * scale), _side(height * scale))
    canvas = (transform.width, transform.height) if transform.mode == "pad" else size
    return Frame(box, size, canvas)


def focused(found: Frame, source: Size, focus: tuple[int, int]) -> Frame:
    """With the focal point (per cent of the whole picture) as near to the middle as can be."""
    shares = []
    for axis in (0, 1):
        slack = found.slack[axis]
        middle = (found.box[axis] + found.box[axis + 2]) / 2
        point = source[axis] * focus[axis] / 100
        shares.append(min(1.0, max(0.0, (point - middle) / slack)) if slack > 0 else 0.0)
    return found.moved(shares[0], shares[1])


def _region(source: Size, transform: Transform) -> tuple[int, int, int, int]:
    if transform.crop is None:
        return 0, 0, source[0], source[1]
    crop = transform.crop
    width = min(crop.width, source[0] - crop.left)
    height = min(crop.height, source[1] - crop.top)
    if width < 1 or height < 1:
        raise ImageRefused(f"the crop lies outside of a picture of {source[0]}x{source[1]} pixels")
    return crop.left, crop.top, width, height


def _fill(region: tuple[int, int, int, int], transform: Transform) -> Frame:
    left, top, width, height = region
    scale = max(transform.width / width, transform.height / height)
    drawn = scale if transform.enlarge else min(scale, 1.0)
    box_width, box_height = transform.width / scale, transform.height / scale
    size = (_side(box_width * drawn), _side(box_height * drawn))
    slack = (max(0.0, width - box_width), max(0.0, height - box_height))
    return Frame((left, top, left + box_width, top + box_height), size, size, slack)


def _side(length: float) -> int:
    return max(1, round(length))
