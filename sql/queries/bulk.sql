-- name: lock
-- One import at a time: two must not both find a line missing.
SELECT pg_advisory_xact_lock(hashtextextended('loyalty.bulk_import', 5))
-- name: members
-- Those of the numbers that are members.
SELECT member_id FROM loyalty.member WHERE member_id = ANY(%(members)s)
-- name: gone
-- Those of the members whose personal data was removed, or for whom somebody else earns.
SELECT m.member_id, e.member_id IS NOT NULL, o.owner_id
FROM loyalty.member m LEFT JOIN loyalty.merged_member o USING (member_id)
LEFT JOIN (SELECT DISTINCT member_id FROM loyalty.member_erasure) e USING (member_id)
WHERE m.member_id = ANY(%(members)s) AND (e.member_id IS NOT NULL OR o.owner_id IS NOT NULL)
-- name: balances
-- Opening balances of the members that nobody took back, and how many were entered for that date.
SELECT a.member_id, a.event_at, count(*),
       max(a.adjustment_id) FILTER (WHERE v.adjustment_id IS NULL),
       sum(a.points) FILTER (WHERE v.adjustment_id IS NULL)::bigint
FROM loyalty.adjustment a LEFT JOIN loyalty.adjustment v ON v.voids_id = a.adjustment_id
WHERE a.kind = 'opening balance' AND a.voids_id IS NULL AND a.member_id = ANY(%(members)s)
GROUP BY a.member_id, a.event_at
-- name: take_back
-- Takes opening balances back, each by its opposite.
INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, voids_id, reason, author,
    event_at, run_id)
SELECT a.idempotency_key || ' void', a.member_id, -a.points, a.adjustment_id, %(reason)s,
       %(author)s, a.event_at, %(run_id)s
FROM loyalty.adjustment a WHERE a.adjustment_id = ANY(%(adjustments)s) ORDER BY a.adjustment_id
-- name: add_balances
-- Enters opening balances.
INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, event_at,
    run_id, kind)
SELECT key, member_id, points, %(reason)s, %(author)s, event_at, %(run_id)s, 'opening balance'
FROM unnest(%(keys)s::text[], %(members)s::bigint[], %(points)s::bigint[], %(at)s::timestamptz[])
    AS t (key, member_id, points, event_at) ORDER BY member_id, event_at
-- name: tiers
-- The tier that was set last, per member and instant.
SELECT DISTINCT ON (member_id, valid_from) member_id, valid_from, tier FROM loyalty.member_tier
WHERE member_id = ANY(%(members)s) ORDER BY member_id, valid_from, tier_no DESC
-- name: add_tiers
-- Sets tiers.
INSERT INTO loyalty.member_tier (member_id, tier, valid_from, reason, recorded_by, run_id)
SELECT member_id, tier, valid_from, %(reason)s, %(author)s, %(run_id)s
FROM unnest(%(members)s::bigint[], %(tiers)s::text[], %(at)s::timestamptz[])
    AS t (member_id, tier, valid_from) ORDER BY member_id, valid_from
-- name: referrals
-- Who referred these members, and when, as entered last; nobody: it was withdrawn.
SELECT DISTINCT ON (friend_id) friend_id, referrer_id, referred_at FROM loyalty.referral
WHERE friend_id = ANY(%(members)s) ORDER BY friend_id, referral_no DESC
-- name: add_referrals
-- Enters referrals.
INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at, reason, recorded_by, run_id)
SELECT friend_id, referrer_id, referred_at, %(reason)s, %(author)s, %(run_id)s
FROM unnest(%(members)s::bigint[], %(referrers)s::bigint[], %(at)s::timestamptz[])
    AS t (friend_id, referrer_id, referred_at) ORDER BY friend_id
-- name: in_circles
-- Those of the members whose referral is on a circle.
SELECT DISTINCT o.member_id FROM loyalty.member_owner o
JOIN loyalty.referral_circle c ON c.friend_id = o.owner_id WHERE o.member_id = ANY(%(members)s)
