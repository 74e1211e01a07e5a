-- name: member
-- What a member has; the last column: whether points can expire at all.
SELECT m.member_id, t.tier, coalesce(b.balance_points, 0), coalesce(b.added_points, 0),
       coalesce(b.taken_back_points, 0), coalesce(b.spent_points, 0), coalesce(b.held_points, 0),
       coalesce(b.pending_points, 0),
       coalesce(b.available_points, 0), coalesce(b.entries, 0), b.last_posted_at,
       EXISTS (SELECT FROM loyalty.member_dirty d WHERE d.member_id = m.member_id), o.owner_id,
       EXISTS (SELECT FROM loyalty.program p WHERE p.expiry IS NOT NULL)
FROM loyalty.member m
LEFT JOIN loyalty.merged_member o USING (member_id)
LEFT JOIN loyalty.member_balance b USING (member_id)
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t
WHERE m.member_id = %(member_id)s
-- name: below_zero
-- What took a member's balance below zero: what took points since it was last not negative, or
-- since points were reserved that were spent then. The latest first.
WITH movement AS (
    SELECT h.*, row_number() OVER (ORDER BY h.posted_at, h.kind, h.system, h.account,
        h.external_id, h.entry_no) AS number
    FROM analytics.points_history h WHERE h.member_id = %(member_id)s
), latest AS (
    SELECT * FROM movement WHERE points < 0
      AND number > coalesce((SELECT max(number) FROM movement WHERE balance_points >= 0), 0)
)
SELECT m.kind, m.points, m.event_at, m.posted_at, m.system,
       coalesce(i.invoice_number, m.external_id)
FROM movement m
LEFT JOIN billing.invoice i USING (external_id, account, system)
WHERE m.points < 0 AND (m.number IN (SELECT number FROM latest)
    OR m.posted_at >= (SELECT min(event_at) FROM latest WHERE kind = 'redemption'))
ORDER BY m.number DESC LIMIT 5
