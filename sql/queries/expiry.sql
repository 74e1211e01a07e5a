-- name: now
-- The database's clock, in microseconds since 1970.
SELECT now()
-- name: adjustments
-- Adjustments of the members: points with a date.
SELECT coalesce(o.owner_id, a.member_id), (extract(epoch FROM a.event_at) * 1000000)::bigint,
       a.points
FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o USING (member_id)
WHERE coalesce(o.owner_id, a.member_id) = ANY(%(members)s)
-- name: expired
-- What was posted as expired, per instant of expiry.
SELECT DISTINCT ON (member_id, expires_at) member_id,
       (extract(epoch FROM expires_at) * 1000000)::bigint, entry_no, due_after
FROM loyalty.expiry_entry WHERE member_id = ANY(%(members)s)
ORDER BY member_id, expires_at, entry_no DESC
-- name: watch
-- Keeps how far expiries were looked at; it never goes back.
INSERT INTO loyalty.expiry_watch (watched_until) VALUES (%(until)s)
ON CONFLICT (only_row) DO UPDATE SET watched_until = excluded.watched_until
WHERE expiry_watch.watched_until < excluded.watched_until
-- name: watched
-- Up to when expiries were looked at.
SELECT watched_until FROM loyalty.expiry_watch
-- name: members_who_earned
-- Members with points that were earned in a span of time.
SELECT DISTINCT member_id FROM loyalty.award_entry
WHERE event_at >= %(since)s AND event_at < %(until)s
UNION SELECT DISTINCT coalesce(o.owner_id, a.member_id) FROM loyalty.adjustment a
LEFT JOIN loyalty.merged_member o USING (member_id)
WHERE a.event_at >= %(since)s AND a.event_at < %(until)s
