-- name: last
-- What the customer decided last, by whichever of their merged members.
SELECT c.given, c.recorded_at FROM loyalty.consent c
WHERE c.member_id = %(owner_id)s OR c.member_id IN (SELECT o.member_id FROM loyalty.merged_member o
    WHERE o.owner_id = %(owner_id)s)
ORDER BY c.recorded_at DESC, c.consent_no DESC LIMIT 1
-- name: record
-- Enters a decision.
INSERT INTO loyalty.consent (member_id, given, reason, author, run_id)
VALUES (%(member_id)s, %(given)s, %(reason)s, %(author)s, %(run_id)s) RETURNING recorded_at
-- name: withdrawn
-- When these members took no part. (Where nobody ever decided anything, that ends it.)
SELECT member_id, (extract(epoch FROM withdrawn_from) * 1000000)::bigint,
       (extract(epoch FROM withdrawn_until) * 1000000)::bigint
FROM loyalty.withdrawn_span
WHERE (SELECT true FROM loyalty.consent LIMIT 1) AND member_id = ANY(%(members)s)
