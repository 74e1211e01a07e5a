-- name: lock
-- Requests for one code wait for each other.
SELECT loyalty.lock_code(%(code)s)
-- name: clock
-- Now, once the lock is held.
SELECT clock_timestamp()
-- name: mark
-- Marks the member before the code is locked: it waits for an award step that computes them.
SELECT loyalty.mark_dirty(ARRAY[%(member_id)s]::bigint[])
-- name: used_by_member
-- How often one customer entered a code.
SELECT count(*) FROM loyalty.member_owner o JOIN loyalty.code_entry c USING (member_id)
WHERE o.owner_id = %(owner_id)s AND c.code = %(code)s
-- name: used_by_all
-- How often a code was entered, counted as far as it matters.
SELECT count(*) FROM (
    SELECT FROM loyalty.code_entry c WHERE c.code = %(code)s LIMIT %(at_most)s) entries
-- name: add
-- Enters a code.
INSERT INTO loyalty.code_entry (member_id, code, entered_at, recorded_by, run_id)
VALUES (%(member_id)s, %(code)s, %(at)s, %(by)s, %(run_id)s) RETURNING entry_no
-- name: of_run
-- The entry of a code that a run has made.
SELECT entry_no, entered_at FROM loyalty.code_entry
WHERE member_id = %(member_id)s AND code = %(code)s AND run_id = %(run_id)s
-- name: last_entry
-- When a customer entered a code last.
SELECT max(c.entered_at) FROM loyalty.code_entry c JOIN loyalty.member_owner o USING (member_id)
WHERE c.code = %(code)s AND o.owner_id = (
    SELECT w.owner_id FROM loyalty.member_owner w WHERE w.member_id = %(member_id)s)
-- name: of_member
-- Codes of a customer, the latest first.
SELECT c.entry_no, c.member_id, c.code, c.entered_at
FROM loyalty.code_entry c JOIN loyalty.member_owner o USING (member_id)
WHERE o.owner_id = (SELECT w.owner_id FROM loyalty.member_owner w WHERE w.member_id = %(member_id)s)
  AND (%(before)s::bigint IS NULL OR c.entry_no < %(before)s)
ORDER BY c.entry_no DESC LIMIT %(limit)s
