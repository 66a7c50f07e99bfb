-- When autovacuum comes by, table by table. Its default, a fifth of a table dead, is made for tables that fit in memory.
-- Chosen by reasoning; a day of churn has not been measured. Expands only: nothing that reads or writes rows depends on it.

-- Hundreds of millions of rows: a fifth of 300 million chunks would be 60 million dead rows and their index entries
-- before the first vacuum. A fiftieth keeps what is dead below what a few days delete.
-- New rows count as well: they are frozen, and marked visible, little by little and not in one pass against wraparound.
ALTER TABLE chunks SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE blobs SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE manifests SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02,
    toast.autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE objects SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02);

-- Days of rows, taken from one end: what is dead lies where the next one is looked for, so a share of the whole is the
-- wrong measure. Ten thousand dead rows are a few seconds of deleting.
ALTER TABLE doomed SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE garbage SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE tombstones SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000);
ALTER TABLE purged_objects SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- Queues: nearly empty, whatever has gone through them. A vacuum of so few pages is short, so it is not slowed
-- down; and it gives no pages back to the system, which needs a lock that every request would wait for.
ALTER TABLE uploads SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false);
ALTER TABLE upload_chunks SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false);
ALTER TABLE events SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false);
ALTER TABLE stage_changes SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false);
ALTER TABLE unlinking SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_cost_delay = 0, toast.vacuum_truncate = false);
