"""A day's requests, made in the database, leave what the service would: every count is exact."""

from typing import Any

import asyncpg

from bench.gc.churn import prepare
from bench.gc.filling import Shape, fill
from tests.counts_exact import assert_counts_exact
from tests.recount_exact import assert_references_exact

NUMBERS, LAG = 40, 20
EXPECTED = """
SELECT (SELECT count(*) FROM objects WHERE deleted_at IS NULL) AS live,
       (SELECT count(*) FROM objects WHERE deleted_at IS NOT NULL) AS trash,
       (SELECT count(*) FROM blobs) AS blobs,
       (SELECT count(*) FROM uploads WHERE NOT dropped) AS uploads
"""


async def test_every_count_is_exact(dsn: str, connection: "asyncpg.Connection[Any]") -> None:
    await fill(dsn, Shape(300))
    await prepare(connection)
    before = await connection.fetchrow(EXPECTED)
    for session in (1, 0):  # the first twenty is the second session's
        await connection.execute(f"CALL churn({session}, 2, {LAG}, {LAG + NUMBERS - 1}, {LAG})")
    after = await connection.fetchrow(EXPECTED)
    found = {name: after[name] - before[name] for name in after.keys()}  # noqa: SIM118  (a Record)
    # 19 objects of 18 blobs each twenty; the first twenty's are in the trash.
    assert found == {"live": 19, "trash": 19, "blobs": 36, "uploads": 0}
    await assert_references_exact(connection)
    await assert_counts_exact(connection)
