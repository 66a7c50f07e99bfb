"""The bodies that this process is reading, and how a newer request ends them.

They are found by tenant and upload, so nobody ends another's, and by epoch: who takes an upload
learns which epoch that ended, and exactly that epoch's request is told, however the answers of two
takes overtake each other. Only the epoch's check in the catalog fences (INV-8); this saves the
older request's client from sending what could not be committed.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from prometheus_client import Counter

from mediastore.errors import UploadTaken
from mediastore.uploads.body import BodyEnd, BodyReader

Key = tuple[str, UUID]
ENDED_EPOCHS_MAX = 4096  # far more than takes happen between a take and the reading of its body


class Bodies:
    """Every body between its first read and the commit of its last byte."""

    def __init__(self, taken_over: Counter) -> None:
        self._taken_over = taken_over
        self._reading: dict[BodyReader, None] = {}
        self._by_upload: dict[Key, BodyReader] = {}
        self._by_epoch: dict[int, BodyReader] = {}
        self._ended: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reading)

    def values(self) -> Collection[BodyReader]:
        return list(self._reading)

    @contextmanager
    def reading(self, key: Key, epoch: int | None, body: BodyReader) -> Iterator[None]:
        """While inside, others may end this body. `epoch` is None for an upload without a row:
        nobody knows of it. Raises UploadTaken if the epoch is over already.
        """
        if epoch in self._ended:
            raise UploadTaken
        self._reading[body] = None
        self._by_upload[key] = body
        if epoch is not None:
            self._by_epoch[epoch] = body
        try:
            yield
        finally:
            body.settled.set()
            del self._reading[body]
            if self._by_upload.get(key) is body:
                del self._by_upload[key]
            if epoch is not None:
                self._by_epoch.pop(epoch, None)

    def end_of_upload(self, key: Key) -> BodyReader | None:
        """End the newest body of an upload, if one is being read; that body."""
        return self._end(self._by_upload.get(key))

    def end_of_epoch(self, epoch: int) -> BodyReader | None:
        """End the body of this epoch, now or as soon as its request wants to read; that body."""
        self._ended[epoch] = None
        if len(self._ended) > ENDED_EPOCHS_MAX:
            self._ended.popitem(last=False)
        return self._end(self._by_epoch.get(epoch))

    def stop(self) -> None:
        """The process stops: end all of them; their sessions commit what they hold."""
        for body in list(self._reading):
            body.interrupt(BodyEnd.STOPPED)

    def _end(self, body: BodyReader | None) -> BodyReader | None:
        if body is not None and not body.interrupted:
            self._taken_over.inc()
            body.interrupt(BodyEnd.TAKEN)
        return body
