-- name: publish
-- Numbers changes that are noted and due; how many, 0 for none (or somebody else does it).
SELECT loyalty.publish_changes(%(limit)s)
-- name: after
-- The changes after a number, in their order; of one member only, where one is named.
SELECT change_no, kind, member_id, balance_points, happened_at, published_at, data
FROM loyalty.change
WHERE change_no > %(after)s AND (%(member_id)s::bigint IS NULL OR member_id = %(member_id)s)
ORDER BY change_no LIMIT %(limit)s
-- name: latest
-- The number of the last change (0: there is none), and whether the feed goes on after a number: not
-- where it lies beyond the last one, or in the gap that a restore leaves (skip_numbers).
SELECT (SELECT coalesce(max(change_no), 0) FROM loyalty.change),
       %(after)s = 0 OR coalesce((SELECT min(change_no) FROM loyalty.change
           WHERE change_no >= %(after)s) - 500000000 < %(after)s, false)
-- name: skip_numbers
-- Leaves out many numbers, after a backup was restored.
SELECT loyalty.skip_change_numbers()
-- name: noticed
-- Up to when expiries are announced.
SELECT noticed_until FROM loyalty.expiry_watch
-- name: notice
-- Keeps how far expiries are announced; it never goes back.
INSERT INTO loyalty.expiry_watch (watched_until, noticed_until) VALUES (%(now)s, %(until)s)
ON CONFLICT (only_row) DO UPDATE SET noticed_until = excluded.noticed_until
WHERE coalesce(expiry_watch.noticed_until < excluded.noticed_until, true)
-- name: announce_expiries
-- Points that expire soon, told once for each member and instant.
INSERT INTO loyalty.expiry_notice (member_id, expires_at, points, run_id)
SELECT m, e, p, %(run_id)s FROM unnest(%(members)s::bigint[], %(instants)s::timestamptz[],
    %(points)s::bigint[]) AS expiring (m, e, p)
ON CONFLICT (member_id, expires_at) DO NOTHING
