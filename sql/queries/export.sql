-- name: sales
-- Sales, of one member or of all.
SELECT * FROM analytics.sale WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s)
ORDER BY issued_at, external_id, account, system
-- name: sale_lines
-- Lines of sales.
SELECT * FROM analytics.sale_line WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s)
ORDER BY issued_at, external_id, account, system, line_no
-- name: awards
-- Entries of sales.
SELECT * FROM analytics.award WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s)
ORDER BY posted_at, external_id, account, system, member_id, entry_no
-- name: points_history
-- Everything that moved a balance.
SELECT * FROM analytics.points_history WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s)
ORDER BY member_id, posted_at
-- name: redemptions
-- Points spent or held, and what became of them.
SELECT * FROM analytics.redemption WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s)
ORDER BY redemption_id
-- name: members
-- Members without personal data.
SELECT * FROM analytics.member WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s)
ORDER BY member_id
-- name: tiers
-- Tiers that were set for members, as entered last for each instant; an empty tier: from then on
-- none is set.
SELECT member_id, tier, valid_from, recorded_at FROM (
    SELECT DISTINCT ON (member_id, valid_from) * FROM loyalty.member_tier
    ORDER BY member_id, valid_from, tier_no DESC
) last
WHERE (%(member)s::bigint IS NULL OR member_id IN (SELECT o.member_id FROM loyalty.member_owner o
    WHERE o.owner_id = %(member)s)) ORDER BY tier_no
-- name: changes
-- What the loyalty app could hear of.
SELECT * FROM analytics.change
WHERE (%(member)s::bigint IS NULL OR member_id IN (SELECT o.member_id FROM loyalty.member_owner o
    WHERE o.owner_id = %(member)s))
ORDER BY change_no
-- name: opening_balances
-- Points that members brought along, as `twezah import balances` reads them.
SELECT a.member_id, a.points, a.event_at AS earned_at, a.posted_at AS recorded_at
FROM loyalty.adjustment a
WHERE a.kind = 'opening balance' AND a.voids_id IS NULL
  AND NOT EXISTS (SELECT FROM loyalty.adjustment v WHERE v.voids_id = a.adjustment_id)
  AND (%(member)s::bigint IS NULL OR a.member_id IN (
      SELECT o.member_id FROM loyalty.member_owner o WHERE o.owner_id = %(member)s))
ORDER BY a.adjustment_id
-- name: events
-- What members did beside buying, and the points posted for it.
SELECT * FROM analytics.member_event
WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s) ORDER BY event_no
-- name: codes
-- Codes of promotions that members entered.
SELECT * FROM analytics.code_entry
WHERE (%(member)s::bigint IS NULL OR member_id = %(member)s) ORDER BY entry_no
-- name: lists
-- Who is on which list, as `twezah import lists` reads it.
SELECT s.member_id, s.list, s.valid_from, s.valid_to FROM loyalty.list_span s
WHERE (%(member)s::bigint IS NULL OR s.member_id IN (SELECT o.member_id FROM loyalty.member_owner o
    WHERE o.owner_id = %(member)s)) ORDER BY s.list, s.member_id, s.valid_from
-- name: referrals
-- Who referred whom, as entered last, as `twezah import referrals` reads it.
SELECT friend_id, referrer_id, referred_at, recorded_at FROM (
    SELECT DISTINCT ON (friend_id) friend_id, referrer_id, referred_at, recorded_at
    FROM loyalty.referral ORDER BY friend_id, referral_no DESC
) last
WHERE referrer_id IS NOT NULL
  AND (%(member)s::bigint IS NULL OR EXISTS (SELECT FROM loyalty.member_owner o
      WHERE o.owner_id = %(member)s AND o.member_id IN (friend_id, referrer_id)))
ORDER BY recorded_at, friend_id
-- name: audit
-- The audit log.
SELECT * FROM analytics.audit
WHERE %(member)s::bigint IS NULL OR subject IN (SELECT 'member ' || o.member_id
    FROM loyalty.member_owner o WHERE o.owner_id = %(member)s) ORDER BY entry_no
-- name: phones
-- Personal data: only when it is asked for.
SELECT m.member_id, coalesce(o.owner_id, m.member_id) AS counts_for, m.phone, m.created_at,
       m.timezone, b.month AS birth_month, b.day AS birth_day
FROM loyalty.member m LEFT JOIN loyalty.merged_member o USING (member_id)
LEFT JOIN loyalty.member_birthday b USING (member_id)
WHERE %(member)s::bigint IS NULL OR coalesce(o.owner_id, m.member_id) = %(member)s ORDER BY 1
