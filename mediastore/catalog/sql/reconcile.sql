-- name: reconcile_install
-- A new life of the database. Its doomed rows may carry transaction numbers of another server, and claims of
-- collectors that are gone.
WITH rebased AS (
    UPDATE doomed SET transaction = pg_current_xact_id(), claimed_at = NULL
)
UPDATE gc_state SET incarnation = $1, batch_counter = greatest(batch_counter, $2), clock_high = catalog_clock()
WHERE incarnation = $3 RETURNING incarnation;
