"""Where an upload stands, as front ends tell their clients."""

from dataclasses import dataclass

from mediastore.catalog.objects import Object
from mediastore.catalog.uploads import Upload


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands: its row, or the object it has become."""

    upload: Upload | None
    object: Object | None

    @property
    def offset(self) -> int:
        return self.object.size if self.object is not None else self._row.offset

    @property
    def length(self) -> int | None:
        return self.object.size if self.object is not None else self._row.length

    @property
    def _row(self) -> Upload:
        if self.upload is None:
            raise RuntimeError("a standing has an upload or an object")
        return self.upload
