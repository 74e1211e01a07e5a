-- name: posted
-- The tier that was posted last, per instant.
SELECT DISTINCT ON (member_id, valid_from) member_id,
       (extract(epoch FROM valid_from) * 1000000)::bigint, tier, entry_no
FROM loyalty.tier_entry WHERE member_id = ANY(%(members)s)
ORDER BY member_id, valid_from, entry_no DESC
-- name: may_change
-- Members whose tier time may change, or credits that name no sale.
SELECT m.member_id FROM loyalty.member m
JOIN LATERAL loyalty.tier_now(m.member_id) t ON t.valid_from IS NOT NULL
UNION
SELECT DISTINCT coalesce(o.owner_id, i.member_id) FROM billing.invoice i
LEFT JOIN loyalty.merged_member o USING (member_id)
WHERE i.member_id IS NOT NULL AND (i.kind IN ('credit_note', 'refund') OR %(everyone)s)
-- name: totals
-- What a run added to the history of tiers.
SELECT count(*) FILTER (WHERE tier IS NOT NULL), count(DISTINCT member_id) FROM loyalty.tier_entry
WHERE run_id = %(run_id)s
