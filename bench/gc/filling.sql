-- Fills a migrated catalog with content of a known shape, by groups of 100 blobs: 90 photos of one chunk, 9 documents of
-- 4 chunks and one video of 200. A video has 180 chunks of its own and borrows the first 20 of the video of the group
-- before it, so those count two references (INV-4). Every twentieth blob is two users' object. One group in ten has an
-- open upload of 3 chunks. Names of content are random in order, as in life; so are the places of garbage.

CREATE FUNCTION bench_hash(p_kind text, p_group bigint, p_number integer) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT sha256(convert_to(p_kind || ' ' || p_group || ' ' || p_number, 'UTF8')) $$;

CREATE FUNCTION bench_photo_bytes() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1500000';
CREATE FUNCTION bench_piece_bytes() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 4750000';

-- What is garbage: of p_all of a kind, p_garbage, spread evenly. The factor is a prime, so each is met once.
CREATE FUNCTION bench_is_garbage(p_index bigint, p_all bigint, p_garbage bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT (p_index * 2147483647) % p_all < p_garbage $$;

-- The blobs of some groups: chunks `first` to `last` of the group are its own; a video's borrowed ones come last.
CREATE FUNCTION bench_blobs(p_first bigint, p_last bigint, p_groups bigint, p_garbage bigint)
RETURNS TABLE (g bigint, k integer, hash bytea, first integer, last integer, piece_bytes integer, size bigint,
               is_garbage boolean)
LANGUAGE sql STABLE AS $$
    SELECT g, k, bench_hash('blob', g, k), s.first, s.last, s.piece_bytes,
           CASE WHEN k = 100 THEN 200 ELSE s.last - s.first + 1 END::bigint * s.piece_bytes,
           bench_is_garbage((g - 1) * s.of_kind + k - s.before, p_groups * s.of_kind, p_garbage * s.of_kind)
    FROM generate_series(p_first, p_last) AS g CROSS JOIN generate_series(1, 100) AS k
    CROSS JOIN LATERAL (
        SELECT k, k, bench_photo_bytes(), 90, 1 WHERE k <= 90
        UNION ALL SELECT 91 + (k - 91) * 4, 94 + (k - 91) * 4, bench_piece_bytes(), 9, 91 WHERE k BETWEEN 91 AND 99
        UNION ALL SELECT 127, 306, bench_piece_bytes(), 1, 100 WHERE k = 100
    ) AS s (first, last, piece_bytes, of_kind, before)
$$;

CREATE FUNCTION bench_entries(p_group bigint, p_groups bigint, p_blob integer, p_first integer, p_last integer,
                              p_piece_bytes integer) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(e.hash || int8send(e.number * p_piece_bytes), ''::bytea ORDER BY e.number)
    FROM (SELECT bench_hash('chunk', p_group, c), (c - p_first + 1)::bigint
          FROM generate_series(p_first, p_last) AS c
          UNION ALL
          SELECT bench_hash('chunk', (p_group + p_groups - 2) % p_groups + 1, 126 + c), (180 + c)::bigint
          FROM generate_series(1, 20) AS c WHERE p_blob = 100) AS e (hash, number)
$$;

-- Ids ascend with the time an object was made, as UUIDv7 do.
CREATE FUNCTION bench_id(p_group bigint, p_number integer) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1700000000000 + p_group * 200 + p_number), 12, '0') || '70008000'
            || substr(md5(p_group || ' ' || p_number), 1, 12))::uuid
$$;

-- Groups p_first to p_last of p_groups, p_garbage of them (in all, spread) garbage since p_since. Several sessions may
-- fill groups of their own at once.
CREATE PROCEDURE bench_fill(p_first bigint, p_last bigint, p_groups bigint, p_garbage bigint, p_since timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
    FOR v_first IN p_first..p_last BY 20 LOOP
        CREATE TEMPORARY TABLE IF NOT EXISTS bench_batch (
            g bigint, k integer, hash bytea, first integer, last integer, piece_bytes integer, size bigint,
            is_garbage boolean) ON COMMIT DELETE ROWS;
        INSERT INTO bench_batch
        SELECT * FROM bench_blobs(v_first, least(v_first + 19, p_last), p_groups, p_garbage);
        INSERT INTO chunks (hash, generation, size, refs, stored)
        SELECT bench_hash('chunk', b.g, c), (random() * 4e18)::bigint, b.piece_bytes,
               CASE WHEN c BETWEEN 127 AND 146 THEN 2 ELSE 1 END, true
        FROM bench_batch AS b CROSS JOIN LATERAL generate_series(b.first, b.last) AS c;
        INSERT INTO blobs (hash, size, refs)
        SELECT hash, size, CASE WHEN is_garbage THEN 0 WHEN k % 20 = 0 THEN 2 ELSE 1 END FROM bench_batch;
        INSERT INTO manifests (blob, entries, chunk_size_min_bytes, chunk_size_average_bytes, chunk_size_max_bytes)
        SELECT hash, bench_entries(g, p_groups, k, first, last, piece_bytes), 1048576, 4194304, 8388608
        FROM bench_batch;
        INSERT INTO objects (id, tenant, owner, name, blob, content_type, size, metadata, created_at)
        SELECT bench_id(b.g, b.k + 100 * n), 'bench', 'user-' || b.g % 100000 + n, 'IMG_' || b.k || '.jpg', b.hash,
               'image/jpeg', b.size, jsonb_build_object('album', 'holiday ' || b.g, 'device', 'phone 12'), p_since
        FROM bench_batch AS b CROSS JOIN generate_series(0, 1) AS n
        WHERE NOT b.is_garbage AND (n = 0 OR b.k % 20 = 0);
        INSERT INTO garbage (blob, since) SELECT hash, p_since FROM bench_batch WHERE is_garbage;
        INSERT INTO purged_objects
            (id, tenant, owner, name, blob, content_type, size, metadata, created_at, deleted_at, purged_at)
        SELECT bench_id(g, k), 'bench', 'user-' || g % 100000, 'IMG_' || k || '.jpg', hash, 'image/jpeg', size, '{}',
               p_since, p_since, p_since
        FROM bench_batch WHERE is_garbage;
        INSERT INTO uploads (id, tenant, owner, name, content_type, metadata, protocol, "offset", epoch, created_at,
                             touched_at, expires_at)
        SELECT DISTINCT bench_id(g, 0), 'bench', 'user', 'film.mp4', 'video/mp4', '{}'::jsonb, 'tus',
               3 * bench_piece_bytes()::bigint, 1, p_since, p_since, now() + interval '7 days'
        FROM bench_batch WHERE g % 10 = 0;
        INSERT INTO chunks (hash, generation, size, refs, stored)
        SELECT bench_hash('chunk', g, 1000 + n), (random() * 4e18)::bigint, bench_piece_bytes(), 1, true
        FROM bench_batch CROSS JOIN generate_series(1, 3) AS n WHERE k = 100 AND g % 10 = 0;
        INSERT INTO upload_chunks (upload, "offset", hash, size)
        SELECT bench_id(g, 0), (n - 1)::bigint * bench_piece_bytes(), bench_hash('chunk', g, 1000 + n),
               bench_piece_bytes()
        FROM bench_batch CROSS JOIN generate_series(1, 3) AS n WHERE k = 100 AND g % 10 = 0;
        COMMIT;
    END LOOP;
END $$;
