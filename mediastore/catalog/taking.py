"""Taking an upload over, and what replicas tell each other of it (INV-8).

A replica has an id; it listens on a channel of its own, and its listening session holds an advisory
lock on the id, so that the others know whether telling it is of any use. The epoch alone decides
who may write: what is told only ends a request sooner that could not commit any more. The rules
are in migrations/0009_pre_takeover_and_tokens.sql.
"""

import secrets
from dataclasses import dataclass
from uuid import UUID

from mediastore.catalog.pool import Catalog
from mediastore.catalog.uploads import Upload, new_epoch, upload_from_row

_REPLICA_ID_BITS = 62


def new_replica_id() -> int:
    return secrets.randbits(_REPLICA_ID_BITS)


def replica_channel(replica: int) -> str:
    """Where a replica is told what concerns it."""
    return f"mediastore_replica_{replica}"


@dataclass(frozen=True, slots=True)
class Taken:
    """An upload as it stands after a take, and the epoch that the take has ended.

    `asked`: nothing was taken yet; the replica whose request writes to it was asked to let go.
    """

    upload: Upload
    previous_epoch: int
    asked: bool


async def take_upload(
    catalog: Catalog,
    tenant: str,
    id_: UUID,
    *,
    expected_offset: int | None = None,
    epoch: int | None = None,
    replica: int | None = None,
    writes: bool = False,
    patient: bool = False,
) -> Taken | None:
    """Become the upload's only writer. A finishing upload is returned, not taken; None: there is
    none.

    `writes`: the request goes on to write, for `replica`. A `patient` one first asks another
    replica's writer, if there is one. Raises OffsetMismatch (member `offset`), taking nothing.
    """
    row = await catalog.fetch_row(
        "upload_take",
        tenant,
        id_,
        new_epoch() if epoch is None else epoch,
        expected_offset,
        replica,
        writes,
        patient,
    )
    if row is None:
        return None
    return Taken(upload_from_row(row), row["previous_epoch"], row["asked"])


async def end_writer(catalog: Catalog, tenant: str, id_: UUID, *, replica: int) -> None:
    """Have another replica's request that writes to an upload ended, for the upload will go."""
    await catalog.execute("upload_end_writer", tenant, id_, replica)


async def tell_replica(catalog: Catalog, replica: int, words: str) -> None:
    """Notify one replica. Rarely: the commits that do wait for each other."""
    await catalog.execute("replica_tell", replica, words)
