"""What can be wrong with a picture that is asked for. They belong to the table in errors.py.

ImageRefused and its kinds are believed for a while: the same bytes would fail the same way again.
"""

from mediastore.errors import BadRequest, Unavailable


class BadTransform(BadRequest):
    """The transform in the URL is not one; docs/images.md has the grammar."""

    code = "bad_transform"


class NotAcceptable(BadRequest):
    """The Accept header refuses every format that this URL could answer with."""

    code = "not_acceptable"
    status = 406


class ImagesBusy(Unavailable):
    """Too many pictures are waiting to be made; try again."""

    code = "images_busy"


class ImageRefused(BadRequest):
    """The content is no picture of a type that is decoded here, or it is damaged."""

    code = "image_refused"
    status = 422


class ImageTooLarge(ImageRefused):
    """The picture has more pixels, frames or bytes than this service decodes or makes."""

    code = "image_too_large"


class ImageTooCostly(ImageRefused):
    """Making this picture took more memory or time than one picture may take."""

    code = "image_too_costly"
