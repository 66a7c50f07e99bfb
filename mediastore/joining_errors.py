"""Errors of uploads that are joined from parts or put together. They belong to the table in
errors.py.
"""

from mediastore.errors import BadRequest, Conflict, Unavailable


class BadConcatenation(BadRequest):
    """Upload-Concat is not valid, or names what cannot be joined."""

    code = "bad_concatenation"


class FinalUpload(BadRequest):
    """A final upload is made of its parts and takes no bytes of its own."""

    code = "final_upload"
    status = 403


class PartTaken(Conflict):
    """A partial upload goes into one final upload, and this one has gone into another."""

    code = "part_taken"


class UploadFragmented(Unavailable):
    """The upload has too many small pieces; they are being joined, go on in a moment."""

    code = "upload_fragmented"
