-- name: in_force
-- Holds that were not lifted.
SELECT h.hold_no, h.member_id, h.reason, h.recorded_at FROM loyalty.legal_hold h
WHERE h.lifts_no IS NULL
  AND NOT EXISTS (SELECT FROM loyalty.legal_hold l WHERE l.lifts_no = h.hold_no)
ORDER BY h.hold_no
-- name: record
-- Enters a hold, or that one is lifted.
INSERT INTO loyalty.legal_hold (member_id, lifts_no, reason, author, run_id)
VALUES (%(member_id)s, %(lifts_no)s, %(reason)s, %(author)s, %(run_id)s)
RETURNING hold_no, recorded_at
