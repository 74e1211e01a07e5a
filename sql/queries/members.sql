-- name: number
-- The number of the member with a public id.
SELECT member_id FROM loyalty.member WHERE public_id = %(public_id)s::uuid
-- name: register
-- Makes a member; no row: the phone is known.
INSERT INTO loyalty.member (phone) VALUES (%(phone)s) ON CONFLICT (phone) DO NOTHING
RETURNING member_id
-- name: member
-- A member: ids, tier, who earns for them, and who referred them. The last columns: whether that
-- referral is on a circle.
SELECT m.member_id, m.public_id::text, m.created_at, t.tier, t.valid_from, o.owner_id,
       r.referrer_id, r.referred_at,
       EXISTS (SELECT FROM loyalty.referral_circle c WHERE c.friend_id = m.member_id)
FROM loyalty.member m
LEFT JOIN loyalty.merged_member o USING (member_id)
LEFT JOIN loyalty.referral_between r ON r.friend_id = m.member_id
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t
WHERE m.member_id = %(member_id)s
-- name: lock
-- Two who change tier or referral of a member wait for each other.
SELECT member_id FROM loyalty.member WHERE member_id = %(member_id)s FOR NO KEY UPDATE
-- name: tier_names
-- The tiers of the program in force at an instant (or now).
SELECT ARRAY(SELECT jsonb_object_keys(tier_rate_bps) ORDER BY 1), coalesce(%(at)s, now())
FROM loyalty.program WHERE valid_from <= coalesce(%(at)s, now()) ORDER BY version DESC LIMIT 1
-- name: tier_at
-- The row of the member's own tiers that is in force at an instant.
SELECT tier, valid_from FROM loyalty.member_tier
WHERE member_id = %(member_id)s AND valid_from <= %(at)s
ORDER BY valid_from DESC, tier_no DESC LIMIT 1
-- name: add_tier
-- Enters a tier; null: the end of one.
INSERT INTO loyalty.member_tier (member_id, tier, valid_from, reason, recorded_by, run_id)
VALUES (%(member_id)s, %(tier)s, %(valid_from)s, %(reason)s, %(author)s, %(run_id)s)
-- name: tiers
-- What was entered for a member, as it counts: the last row per instant, the latest first.
SELECT DISTINCT ON (valid_from) valid_from, tier, recorded_at, reason
FROM loyalty.member_tier WHERE member_id = %(member_id)s
ORDER BY valid_from DESC, tier_no DESC
-- name: lock_referrals
-- One referral at a time: two at once could close a circle.
SELECT pg_advisory_xact_lock(hashtextextended('loyalty.referral', 7))
-- name: referrals_of
-- The referrals of a customer: of the member, and of all who were merged into them.
SELECT friend_id, referrer_id, referred_at FROM (
    SELECT DISTINCT ON (friend_id) friend_id, referrer_id, referred_at FROM loyalty.referral
    WHERE friend_id = %(member_id)s OR friend_id IN (
        SELECT o.member_id FROM loyalty.merged_member o WHERE o.owner_id = %(member_id)s)
    ORDER BY friend_id, referral_no DESC
) last
WHERE referrer_id IS NOT NULL ORDER BY referred_at, friend_id
-- name: add_referral
-- Enters a referral; without a referrer: withdraws it.
INSERT INTO loyalty.referral (friend_id, referrer_id, referred_at, reason, recorded_by, run_id)
VALUES (%(friend_id)s, %(referrer_id)s, coalesce(%(referred_at)s, now()), %(reason)s, %(author)s,
    %(run_id)s)
RETURNING referred_at
-- name: in_circle
-- Whether the member's referral is on a circle.
SELECT EXISTS (SELECT FROM loyalty.referral_circle WHERE friend_id = %(member_id)s)
-- name: standing
-- Balance and tier of members.
SELECT m.member_id, coalesce(b.balance_points, 0), t.tier
FROM loyalty.member m LEFT JOIN loyalty.member_balance b USING (member_id)
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t WHERE m.member_id = ANY(%(members)s)
