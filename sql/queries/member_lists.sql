-- name: add
-- Puts a member on a list, or corrects when they are on it.
INSERT INTO loyalty.list_member (member_id, list, valid_from, valid_to, reason, author, run_id)
VALUES (%(member_id)s, %(list)s, %(valid_from)s, %(valid_to)s, %(reason)s, %(author)s, %(run_id)s)
-- name: lock
-- Two who change lists of a member wait for each other.
SELECT now() FROM loyalty.member WHERE member_id = %(member_id)s FOR NO KEY UPDATE
-- name: spans
-- When a customer is on lists, the latest first.
SELECT s.list, s.valid_from, s.valid_to, o.member_id
FROM loyalty.member_owner o CROSS JOIN LATERAL (
    SELECT DISTINCT ON (l.list, l.valid_from) l.list, l.valid_from, l.valid_to
    FROM loyalty.list_member l WHERE l.member_id = o.member_id
    ORDER BY l.list, l.valid_from, l.row_no DESC) s
WHERE o.owner_id = (SELECT w.owner_id FROM loyalty.member_owner w WHERE w.member_id = %(member_id)s)
  AND (s.valid_to IS NULL OR s.valid_to > s.valid_from)
ORDER BY s.valid_from DESC, s.list, o.member_id LIMIT 1000
-- name: imported
-- The rows for these members that count.
SELECT DISTINCT ON (member_id, list, valid_from) member_id, valid_from, list, valid_to
FROM loyalty.list_member WHERE member_id = ANY(%(members)s)
ORDER BY member_id, list, valid_from, row_no DESC
-- name: import
-- Puts members on lists.
INSERT INTO loyalty.list_member (member_id, list, valid_from, valid_to, reason, author, run_id)
SELECT member_id, list, valid_from, valid_to, %(reason)s, %(author)s, %(run_id)s
FROM unnest(%(members)s::bigint[], %(lists)s::text[], %(at)s::timestamptz[],
    %(until)s::timestamptz[]) AS t (member_id, list, valid_from, valid_to)
ORDER BY member_id, list, valid_from
