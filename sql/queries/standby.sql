-- name: read
SELECT since, reason FROM billing.standby
-- name: begin
INSERT INTO billing.standby (reason) VALUES (%(reason)s) ON CONFLICT (only_row) DO NOTHING
-- name: finish
DELETE FROM billing.standby RETURNING since
