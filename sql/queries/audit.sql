-- name: act_as
SELECT set_config('twezah.actor', %(actor)s, false)
-- name: record
SELECT audit.record(%(operation)s, %(status)s, %(subject)s, %(details)s, %(system)s, %(account)s,
    %(records)s, %(points)s, %(error)s, %(run_id)s)
-- name: entries
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
SELECT entry_no, hash, at FROM audit.entry ORDER BY entry_no DESC LIMIT 1
-- name: hash_of
SELECT hash FROM audit.entry WHERE entry_no = %(entry_no)s
-- name: chain
-- As texts: what is hashed must not depend on how a driver reads a type.
SELECT entry_no, previous_hash, hash, ARRAY[
    entry_no::text, (extract(epoch FROM at) * 1000000)::bigint::text, actor, operation, status,
    subject, system, account,
    records::text, points::text, error, run_id, details::text]
FROM audit.entry ORDER BY entry_no
-- name: seen
SELECT kind, name, state FROM audit.seen
-- name: lock_seen
SELECT pg_advisory_xact_lock(hashtextextended('audit.seen', 6))
-- name: save_seen
INSERT INTO audit.seen (kind, name, state) VALUES (%(kind)s, %(name)s, %(state)s)
ON CONFLICT (kind, name) DO UPDATE SET state = excluded.state, seen_at = now()
-- name: forget_seen
DELETE FROM audit.seen WHERE kind = %(kind)s AND name = %(name)s
-- name: counts
SELECT operation, status, count(*), coalesce(sum(records), 0)::bigint,
       coalesce(sum(points), 0)::bigint
FROM audit.entry WHERE at > now() - make_interval(hours => %(hours)s) GROUP BY 1, 2 ORDER BY 1, 2
