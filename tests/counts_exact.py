"""Counts every stage by plain SQL and compares with the counts that triggers keep."""

from typing import Any

import asyncpg

COUNTED = """
SELECT 'trash' AS stage, hour_of_v1(purge_at) AS hour, count(*) AS count, sum(size)::bigint AS bytes
FROM objects WHERE purge_at IS NOT NULL GROUP BY 2
UNION ALL
SELECT 'garbage', hour_of_v1(g.since), count(*), sum(b.size)::bigint
FROM garbage AS g JOIN blobs AS b ON b.hash = g.blob GROUP BY 2
UNION ALL
SELECT CASE WHEN claimed_at IS NOT NULL THEN 'doomed_claimed'
            WHEN kept_by_recount IS NOT NULL THEN 'doomed_kept'
            WHEN retry_at IS NOT NULL THEN 'doomed_refused'
            WHEN erased_at IS NOT NULL THEN 'doomed_erased' ELSE 'doomed' END,
       hour_of_v1(since), count(*), sum(size)::bigint
FROM doomed GROUP BY 1, 2
"""
KEPT = """
SELECT stage, hour, sum(count)::bigint AS count, sum(bytes)::bigint AS bytes
FROM (SELECT * FROM stage_counts UNION ALL SELECT * FROM stage_changes) AS c
GROUP BY 1, 2 HAVING sum(count) <> 0 OR sum(bytes) <> 0
"""


async def assert_counts_exact(connection: "asyncpg.Connection[Any]") -> None:
    """In one snapshot, hour by hour."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counted = {tuple(row) for row in await connection.fetch(COUNTED)}
        kept = {tuple(row) for row in await connection.fetch(KEPT)}
    assert kept == counted
