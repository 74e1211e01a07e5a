-- name: enter
-- Enters what a point is worth in a currency.
INSERT INTO loyalty.point_value (currency, valid_from, value_per_point, reason, author, run_id)
VALUES (%(currency)s, %(valid_from)s, %(value_per_point)s, %(reason)s, %(author)s, %(run_id)s)
