-- name: now
-- The database's clock, in microseconds since 1970.
SELECT now()
-- name: adjustments
-- Adjustments of the members: points with a date. Points of events that were taken back are left
-- out with what took them back: points that expire later never pay for those that expire first.
SELECT o.owner_id, (extract(epoch FROM a.event_at) * 1000000)::bigint, a.points
FROM loyalty.member_owner o JOIN loyalty.adjustment a USING (member_id)
WHERE o.owner_id = ANY(%(members)s)
  AND (%(events_too)s OR a.kind <> 'event')
  AND NOT (a.kind = 'event' AND (a.voids_id IS NOT NULL OR EXISTS (
      SELECT FROM loyalty.adjustment v WHERE v.voids_id = a.adjustment_id)))
-- name: redemptions
-- Points that the members spent, or that holds reserve: taken when they were asked for. What was
-- cancelled, ended or given back was not taken.
SELECT owner_id, (extract(epoch FROM requested_at) * 1000000)::bigint, -points
FROM loyalty.redemption_state
WHERE owner_id = ANY(%(members)s) AND state IN ('redeemed', 'held')
-- name: posted_sales
-- Points posted for each sale of the members, at the sale's date, without those that wait for the
-- payment.
SELECT e.member_id,
       (extract(epoch FROM coalesce(i.issued_at, e.event_at)) * 1000000)::bigint, e.due_after
FROM (
    SELECT DISTINCT ON (member_id, external_id, account, system) *
    FROM loyalty.award_entry WHERE member_id = ANY(%(members)s)
    ORDER BY member_id, external_id, account, system, entry_no DESC
) e LEFT JOIN billing.invoice i USING (external_id, account, system)
WHERE e.due_after <> 0 AND NOT EXISTS (
    SELECT FROM loyalty.pending_sale p
    WHERE p.member_id = ANY(%(members)s) AND p.awaits_payment
      AND (p.member_id, p.external_id, p.account, p.system)
          = (e.member_id, e.external_id, e.account, e.system))
-- name: members_of_ended_holds
-- Members with a hold that ended by itself in a span of time.
SELECT DISTINCT owner_id FROM loyalty.redemption_state
WHERE state = 'ended' AND hold_ends_at >= %(since)s AND hold_ends_at <= %(until)s
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
