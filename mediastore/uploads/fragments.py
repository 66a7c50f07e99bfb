"""When an upload's chunks are too small to be kept: the rule, and nothing else.

A fragment costs a row, a request to the store for every read of it and a key to delete one day, and
no other upload of the same file has it. Putting fragments together costs reading them once and
storing them again, so a few of them are left as they are (docs/decisions/0004-rechunking.md).
"""

from mediastore.catalog.uploads import Upload
from mediastore.joining_errors import UploadFragmented
from mediastore.settings import Settings
from mediastore.uploads.batch import Batch

FINISHED_AT_ONCE_MAX = 10_000  # rows that one statement can turn into an object while others wait


def are_small(settings: Settings, *, size: int, fragments: int) -> bool:
    """Is the mean of the fragments far below what cutting by content gives?"""
    small_bytes = settings.chunking.size_average_bytes * settings.uploads.rechunk_below_share
    return size < fragments * small_bytes


def worth_rechunking(settings: Settings, *, size: int, fragments: int) -> bool:
    """For an upload that has all its bytes: would its blob be better cut by its content?"""
    if fragments <= settings.uploads.rechunk_fragments_min:
        return False
    return are_small(settings, size=size, fragments=fragments)


def too_many(settings: Settings, *, size: int, fragments: int) -> bool:
    """For an upload that is open: may it take no more before its fragments are put together?"""
    if fragments < settings.uploads.fragments_max:
        return False
    return are_small(settings, size=size, fragments=fragments)


def refuse_more_fragments(settings: Settings, upload: Upload | None) -> None:
    """A body that is stored in small pieces all along ends where its upload is full of them.

    Raises UploadFragmented.
    """
    if upload is None:
        return
    if too_many(settings, size=upload.fragmented_bytes, fragments=upload.fragments):
        raise UploadFragmented(offset=upload.offset)


def needs_job(settings: Settings, upload: Upload, last: Batch) -> bool:
    """For an upload that has all its bytes with its last batch, and whose hash is known: is there
    more to do than to finish it, or is that too much for one short statement?
    """
    fragments = upload.fragments + len(last.chunks)
    if upload.rechunked is not None or fragments > FINISHED_AT_ONCE_MAX:
        return True
    size = upload.fragmented_bytes + last.acknowledged_bytes
    return worth_rechunking(settings, size=size, fragments=fragments)
