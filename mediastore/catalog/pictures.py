"""What is known of blobs as pictures (`media`), and who looks at one now.

A claim is a row whose `retry_at` lies at the end of its lease; it ends by an outcome, by being put
off or given back, and a claim that its process did not live to end comes back by itself. The rules
are in migrations/0040_pre_pictures.sql.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg

from mediastore.catalog.pool import Catalog

COUNTED_MAX = 10_000  # of what waits: that there are very many is enough
Outcome = Literal["done", "not_a_picture", "failed"]


@dataclass(frozen=True, slots=True)
class Pictured:
    """What is known of an object's content as a picture. `failed` is an error's code; `is_unasked`:
    it is of a picture's type, and nobody has asked for a look yet.
    """

    probe: dict[str, Any] | None = None
    failed: str | None = None
    is_unasked: bool = False


UNPICTURED = Pictured()


@dataclass(frozen=True, slots=True)
class ClaimedPicture:
    """A picture that this process is to look at now. `attempts` counts this claim, and names it."""

    blob: bytes
    size: int
    keep_captured: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class PicturesBacklog:
    """What waits to be looked at, `COUNTED_MAX` at most."""

    waiting: int = 0
    oldest_waiting_seconds: float = 0.0


def pictured_from_row(row: asyncpg.Record) -> Pictured:
    """From a row of an object that was joined with media."""
    probe = row["picture_probe"]
    return Pictured(
        None if probe is None else json.loads(probe), row["picture_failed"], row["picture_unasked"]
    )


async def ask_pictures(catalog: Catalog, tenant: str, blobs: Sequence[bytes]) -> None:
    """Have blobs looked at that were uploaded before there was anybody to."""
    await catalog.execute("pictures_ask", tenant, list(blobs))


async def claim_picture(catalog: Catalog, *, lease_seconds: float) -> ClaimedPicture | None:
    """A picture that is due, whichever tenant's turn it is; None: nothing is due."""
    row = await catalog.fetch_row("picture_claim", lease_seconds)
    return None if row is None else ClaimedPicture(**dict(row))


async def end_picture(
    catalog: Catalog,
    picture: ClaimedPicture,
    outcome: Outcome,
    *,
    probe: dict[str, Any] | None = None,
    code: str | None = None,
) -> bool:
    """It was looked at, for good. False: another claim has overtaken this one, or its blob is
    gone.
    """
    packed = None if probe is None else json.dumps(probe)
    ended = await catalog.fetch_value(
        "picture_end", picture.blob, picture.attempts, outcome, packed, code
    )
    return ended is not None


async def put_picture_off(catalog: Catalog, picture: ClaimedPicture, *, seconds: float) -> None:
    """Look again after a while."""
    await catalog.execute("picture_put_off", picture.blob, picture.attempts, seconds)


async def give_picture_back(
    catalog: Catalog, picture: ClaimedPicture, *, seconds: float = 0
) -> None:
    """Whoever claims next may begin after so long, and this claim does not count."""
    await catalog.execute("picture_give_back", picture.blob, picture.attempts, seconds)


async def pictures_backlog(catalog: Catalog, *, counted_max: int = COUNTED_MAX) -> PicturesBacklog:
    """Measured at the ends of indexes, however much there is."""
    row = await catalog.fetch_row("pictures_backlog", counted_max)
    return PicturesBacklog() if row is None else PicturesBacklog(**dict(row))
