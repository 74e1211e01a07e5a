-- name: renewed
-- The newest consent of each account.
SELECT system, account, max(refreshed_at) FROM billing.connector_token GROUP BY 1, 2 ORDER BY 1, 2
