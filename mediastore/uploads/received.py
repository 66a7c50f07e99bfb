"""What a session answers to the request whose body it has received."""

from dataclasses import dataclass

from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import Upload
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
