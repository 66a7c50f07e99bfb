"""What a database's schema is, as Postgres itself describes it: comparable, column order apart."""

from typing import Any

import asyncpg

_PARTS = {
    "columns": """
        SELECT c.relname || '.' || a.attname AS name,
               concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
                         a.attgenerated, a.attstorage,
                         pg_get_expr(d.adbin, d.adrelid)) AS definition
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
          AND a.attnum > 0 AND NOT a.attisdropped""",
    "tables": """
        SELECT c.relname AS name,
               concat_ws(' ', c.relkind, c.relpersistence, c.reloptions::text) AS definition
        FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind <> 'i'""",
    "indexes": """
        SELECT indexname AS name, indexdef AS definition
        FROM pg_indexes WHERE schemaname = 'public'""",
    "constraints": """
        SELECT r.relname || '.' || c.conname AS name, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.conrelid
        WHERE c.connamespace = 'public'::regnamespace""",
    "functions": """
        SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition
        FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace""",
    "triggers": """
        SELECT r.relname || '.' || t.tgname AS name, pg_get_triggerdef(t.oid) AS definition
        FROM pg_trigger AS t JOIN pg_class AS r ON r.oid = t.tgrelid
        WHERE r.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal""",
    "types": """
        SELECT t.typname AS name, t.typtype::text AS definition FROM pg_type AS t
        WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd', 'r')""",
}


async def describe_schema(connection: "asyncpg.Connection[Any]") -> dict[str, dict[str, str]]:
    """Every table, column, index, constraint, function, trigger and type of the public schema."""
    described = {}
    for part, query in _PARTS.items():
        rows = await connection.fetch(query)
        described[part] = {row["name"]: row["definition"] for row in rows}
    return described
