-- name: act_as
-- Who acts on this connection from now on.
SELECT set_config('twezah.actor', %(actor)s, false)
-- name: record
-- Writes an entry when the transaction is committed.
SELECT audit.record(%(operation)s, %(status)s, %(subject)s, %(details)s, %(system)s, %(account)s,
    %(records)s, %(points)s, %(error)s, %(run_id)s)
-- name: entries
-- Entries that fit the filter, newest first.
SELECT entry_no, at, actor, operation, status, subject, system, account, records, points, error,
       run_id, details
FROM audit.entry
WHERE entry_no < coalesce(%(before)s::bigint, 9223372036854775807)
  AND at >= coalesce(%(since)s::timestamptz, '-infinity')
  AND at < coalesce(%(until)s::timestamptz, 'infinity')
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
  AND (%(operation)s::text IS NULL OR operation = %(operation)s
      OR starts_with(operation, %(operation)s || '.'))
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(system)s::text IS NULL OR system = %(system)s)
  AND (%(subject)s::text IS NULL OR subject = %(subject)s)
ORDER BY entry_no DESC LIMIT %(limit)s
-- name: head
-- The last entry of the chain.
SELECT entry_no, hash, at FROM audit.entry ORDER BY entry_no DESC LIMIT 1
-- name: hash_of
-- The hash of one entry, to compare with a hash that was kept elsewhere.
SELECT hash FROM audit.entry WHERE entry_no = %(entry_no)s
-- name: chain
-- As texts: what is hashed must not depend on how a driver reads a type.
SELECT entry_no, previous_hash, hash, ARRAY[
    entry_no::text, (extract(epoch FROM at) * 1000000)::bigint::text, actor, operation, status,
    subject, system, account,
    records::text, points::text, error, run_id, details::text]
FROM audit.entry ORDER BY entry_no
-- name: pending
-- Synchronisations that are under way.
SELECT system || '/' || account, started_at FROM billing.sync_run
WHERE source = 'poll' AND state IN ('extracting', 'extracted') AND finished_at IS NULL
ORDER BY sync_id DESC LIMIT 50
-- name: seen
-- The settings as they were last seen.
SELECT kind, name, state FROM audit.seen
-- name: lock_seen
-- One process at a time compares settings.
SELECT pg_advisory_xact_lock(hashtextextended('audit.seen', 6))
-- name: save_seen
-- Keeps a setting as it is now.
INSERT INTO audit.seen (kind, name, state) VALUES (%(kind)s, %(name)s, %(state)s)
ON CONFLICT (kind, name) DO UPDATE SET state = excluded.state, seen_at = now()
-- name: forget_seen
-- A setting that is gone.
DELETE FROM audit.seen WHERE kind = %(kind)s AND name = %(name)s
-- name: counts
-- Entries of the last hours, by operation and status.
SELECT operation, status, count(*), coalesce(sum(records), 0)::bigint,
       coalesce(sum(points), 0)::bigint
FROM audit.entry WHERE at > now() - make_interval(hours => %(hours)s) GROUP BY 1, 2 ORDER BY 1, 2
