-- name: add
-- Enters what was posted at once, per account.
INSERT INTO loyalty.posting (system, account, run_id, entries, points)
SELECT p.system, p.account, %(run_id)s, p.entries, p.points
FROM unnest(%(systems)s::text[], %(accounts)s::text[], %(entries)s::bigint[], %(points)s::bigint[])
    AS p(system, account, entries, points)
-- name: report_account
-- The account's postings that no run has counted yet: by this run, and by others.
WITH reported AS (
    UPDATE loyalty.posting SET is_reported = true
    WHERE system = %(system)s AND account = %(account)s AND NOT is_reported
      AND (%(others)s OR run_id = %(run_id)s)
    RETURNING run_id = %(run_id)s AS own, entries, points
)
SELECT coalesce(sum(entries), 0)::bigint, coalesce(sum(points), 0)::bigint,
       coalesce(sum(entries) FILTER (WHERE NOT own), 0)::bigint,
       coalesce(sum(points) FILTER (WHERE NOT own), 0)::bigint
FROM reported
-- name: report_run
-- All postings of a run that belongs to no connection are counted by itself.
UPDATE loyalty.posting SET is_reported = true WHERE run_id = %(run_id)s AND NOT is_reported
