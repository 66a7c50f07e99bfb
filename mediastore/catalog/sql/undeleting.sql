-- name: object_find
SELECT * FROM objects WHERE id = $1;

-- name: purged_object_find
SELECT * FROM purged_objects WHERE id = $1;

-- name: purged_objects_of_blob
SELECT * FROM purged_objects WHERE blob = $1 ORDER BY purged_at DESC, id LIMIT $2;

-- name: purged_object_restore
SELECT purged_object_restore_v1($1);

-- name: purged_object_is_back
SELECT purged_object_is_back_v1($1);

-- name: tombstone_newest
SELECT id, size, length(entries) / 40 AS chunks, since FROM tombstones WHERE blob = $1 ORDER BY id DESC LIMIT 1;

-- name: tombstone_piece
SELECT substr(entries, $2 + 1, $3) FROM tombstones WHERE id = $1;

-- name: tombstone_standing
-- Of its distinct chunks: stored under another key already, still to be copied, or out of reach.
SELECT count(*) FILTER (WHERE h.there) AS there, count(*) FILTER (WHERE NOT h.there AND h.doomed) AS doomed,
       count(*) FILTER (WHERE NOT h.there AND NOT h.doomed) AS gone
FROM (SELECT e.hash,
             EXISTS (SELECT 1 FROM chunks AS c WHERE c.hash = e.hash AND c.stored AND c.damaged_at IS NULL) AS there,
             EXISTS (SELECT 1 FROM doomed AS d WHERE d.hash = e.hash AND d.claimed_at IS NULL) AS doomed
      FROM (SELECT DISTINCT m.hash FROM tombstones AS t CROSS JOIN LATERAL manifest_entries_v1(t.entries) AS m
            WHERE t.id = $1) AS e) AS h;

-- name: chunk_copies
-- Where the bytes of these chunks may be read: rows in use first, then keys that are doomed but not claimed.
SELECT hash, generation FROM (
    SELECT hash, generation, 0 AS rank FROM chunks WHERE hash = ANY ($1) AND stored AND damaged_at IS NULL
    UNION ALL
    SELECT hash, generation, 1 FROM doomed WHERE hash = ANY ($1) AND claimed_at IS NULL
) AS c ORDER BY hash, rank, generation;

-- name: object_untrash
-- While the row is there, even when its time in the trash is over.
UPDATE objects SET deleted_at = NULL, purge_at = NULL WHERE id = $1 AND deleted_at IS NOT NULL RETURNING id;
