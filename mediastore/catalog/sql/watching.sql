-- name: audit_record
INSERT INTO audits (audit, ended_at, complete, dangers, leaks) VALUES ($1, catalog_clock(), $2, $3, $4);

-- name: audits_newest
SELECT DISTINCT ON (audit) audit, ended_at, complete, dangers, leaks FROM audits ORDER BY audit, id DESC;

-- name: audits_sweep
WITH gone AS (
    DELETE FROM audits WHERE id IN (
        SELECT a.id FROM audits AS a WHERE a.ended_at <= (SELECT catalog_clock()) - make_interval(secs => $1)
          AND a.id < (SELECT max(n.id) FROM audits AS n WHERE n.audit = a.audit)
        ORDER BY a.ended_at LIMIT $2)
    RETURNING 1
) SELECT count(*) FROM gone;

-- name: doomed_retries
-- Of the first $2 keys that the store has refused: how many, how many of them $1 times or more, and how often at most.
SELECT count(*) AS keys, count(*) FILTER (WHERE attempts >= $1) AS over, coalesce(max(attempts), 0) AS attempts_max
FROM (SELECT attempts FROM doomed WHERE retry_at IS NOT NULL ORDER BY retry_at LIMIT $2) AS d;
