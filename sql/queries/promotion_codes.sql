-- name: lock
-- Requests for one code wait for each other.
SELECT loyalty.lock_code(%(code)s)
-- name: clock
-- Now, once the lock is held.
SELECT clock_timestamp()
-- name: used
-- How often a code was entered: by all, and by one customer.
SELECT count(*), count(*) FILTER (WHERE o.owner_id = %(owner_id)s)
FROM loyalty.code_entry c JOIN loyalty.member_owner o USING (member_id) WHERE c.code = %(code)s
-- name: add
-- Enters a code.
INSERT INTO loyalty.code_entry (member_id, code, entered_at, recorded_by, run_id)
VALUES (%(member_id)s, %(code)s, %(at)s, %(by)s, %(run_id)s) RETURNING entry_no
-- name: of_member
-- Codes of a customer, the latest first.
SELECT c.entry_no, c.member_id, c.code, c.entered_at
FROM loyalty.code_entry c JOIN loyalty.member_owner o USING (member_id)
WHERE o.owner_id = (SELECT w.owner_id FROM loyalty.member_owner w WHERE w.member_id = %(member_id)s)
  AND (%(before)s::bigint IS NULL OR c.entry_no < %(before)s)
ORDER BY c.entry_no DESC LIMIT %(limit)s
