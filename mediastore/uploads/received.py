"""What a session answers to the request whose body it has received, and what its client is told."""

from dataclasses import dataclass

from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import Upload
from mediastore.errors import MediastoreError, RequestTimeout, ShuttingDown, UploadTaken
from mediastore.uploads.body import BodyEnd


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a request's body: how it ended, where the upload stands, the object if it is
    finished.
    """

    end: BodyEnd
    offset: int
    upload: Upload | None
    object: Object | None


_LEFT_NOTHING = "the body did not come whole, so nothing of it is kept; send it again"


def refuse_cut_short(received: Received, *, kept: bool) -> None:
    """Tell the client why its body was cut; what had come by then is stored if `kept`."""
    error: MediastoreError
    if received.object is not None or received.end is BodyEnd.WHOLE:
        return
    if received.end is BodyEnd.SLOW:
        error = RequestTimeout() if kept else RequestTimeout(_LEFT_NOTHING)
    elif received.end is BodyEnd.STOPPED:
        error = ShuttingDown()
    elif received.end is BodyEnd.TAKEN:
        error = UploadTaken()
    else:
        raise ConnectionResetError("the client has gone")
    error.members["offset"] = received.offset
    raise error
