-- name: read
-- Since when, and why, this installation stands by; no row: it does not.
SELECT since, reason FROM billing.standby
-- name: begin
-- From now on nothing is fetched or awarded.
INSERT INTO billing.standby (reason) VALUES (%(reason)s) ON CONFLICT (only_row) DO NOTHING
-- name: finish
-- Ends it.
DELETE FROM billing.standby RETURNING since
