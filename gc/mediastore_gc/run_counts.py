"""What a run has done: summed over batches and passes, recorded, shown."""

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a run has done."""

    erased_objects: int = 0
    erased_references: int = 0
    expired_uploads: int = 0
    expired_bytes: int = 0
    purged_objects: int = 0
    released_variants: int = 0
    removed_blobs: int = 0
    blobs_put_aside: int = 0
    released_references: int = 0
    doomed_keys: int = 0
    doomed_bytes: int = 0
    quarantined: int = 0
    recounts: int = 0
    deleted_keys: int = 0
    deleted_bytes: int = 0
    refused_keys: int = 0
    kept_keys: int = 0
    swept_rows: int = 0

    @property
    def did_something(self) -> bool:
        return any(asdict(self).values())

    def plus(self, **more: int) -> "RunCounts":
        return replace(self, **{name: getattr(self, name) + n for name, n in more.items()})
