-- name: member
-- A member, and who earns for them.
SELECT m.member_id, coalesce(o.owner_id, m.member_id) FROM loyalty.member m
LEFT JOIN loyalty.merged_member o USING (member_id)
WHERE m.member_id = %(member_id)s
-- name: member_by_phone
-- The same, by phone.
SELECT m.member_id, coalesce(o.owner_id, m.member_id) FROM loyalty.member m
LEFT JOIN loyalty.merged_member o USING (member_id)
WHERE m.phone = %(phone)s
-- name: erased_one
-- One of the members whose personal data was removed.
SELECT member_id FROM loyalty.member_erasure WHERE member_id = ANY(%(members)s) ORDER BY 1 LIMIT 1
-- name: balance
-- A member's balance; 0 without entries.
SELECT coalesce((SELECT balance_points FROM loyalty.member_balance WHERE member_id = %(member_id)s),
    0)
-- name: adjust
-- Enters an adjustment; no row: its key was used before.
INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, voids_id, reason, author,
    event_at, run_id)
VALUES (%(key)s, %(member_id)s, %(points)s, %(voids_id)s, %(reason)s, %(author)s, %(event_at)s,
    %(run_id)s)
ON CONFLICT (idempotency_key) DO NOTHING RETURNING adjustment_id
-- name: adjustment_of_key
-- The adjustment that was entered under a key.
SELECT adjustment_id, member_id, points, voids_id FROM loyalty.adjustment
WHERE idempotency_key = %(key)s
-- name: adjustment
-- An adjustment, locked: two voids of it wait for each other.
SELECT member_id, points, voids_id, event_at, kind FROM loyalty.adjustment
WHERE adjustment_id = %(adjustment_id)s FOR NO KEY UPDATE
-- name: voided_by
-- The adjustment that takes this one back.
SELECT adjustment_id FROM loyalty.adjustment WHERE voids_id = %(adjustment_id)s
-- name: merge
-- Enters a merge; into oneself: it is undone.
INSERT INTO loyalty.member_merge (member_id, into_id, reason, recorded_by, run_id, tiers)
VALUES (%(member_id)s, %(into_id)s, %(reason)s, %(author)s, %(run_id)s, %(tiers)s)
RETURNING merge_no
-- name: lock_merges
-- One merge, or change of a phone, at a time: together two could make a circle.
SELECT pg_advisory_xact_lock(hashtextextended('loyalty.member_merge', 3))
-- name: last_merge
-- The member's latest merge.
SELECT merge_no, into_id FROM loyalty.member_merge WHERE member_id = %(member_id)s
ORDER BY merge_no DESC LIMIT 1
-- name: owners
-- Merged members and who earns for them, of either side.
SELECT member_id, owner_id FROM loyalty.merged_member
WHERE member_id = ANY(%(members)s) OR owner_id = ANY(%(members)s)
-- name: lock_member
-- The member's phone, locked until it is changed.
SELECT phone FROM loyalty.member WHERE member_id = %(member_id)s FOR NO KEY UPDATE
-- name: set_phone
-- Gives the member a phone, or none.
UPDATE loyalty.member SET phone = %(phone)s WHERE member_id = %(member_id)s
-- name: add_member
-- Makes a member who holds a former number.
INSERT INTO loyalty.member (phone) VALUES (%(phone)s) RETURNING member_id
-- name: phone_change
-- Enters that a phone was changed, without the numbers.
INSERT INTO loyalty.phone_change (member_id, former_member_id, reason, author, run_id)
VALUES (%(member_id)s, %(former_id)s, %(reason)s, %(author)s, %(run_id)s)
