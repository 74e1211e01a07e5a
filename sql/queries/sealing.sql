-- name: sealed_with
-- Per key, how many bodies it sealed. (The beginning of a body says which.)
SELECT key, sum(bodies)::bigint FROM (
    SELECT CASE WHEN substr(body_zstd, 1, 4) = %(magic)s
        THEN encode(substr(body_zstd, 5, 4), 'hex') END AS key, count(*) AS bodies
    FROM billing.raw_page WHERE body_zstd IS NOT NULL GROUP BY 1
    UNION ALL
    SELECT CASE WHEN substr(body_zstd, 1, 4) = %(magic)s
        THEN encode(substr(body_zstd, 5, 4), 'hex') END, count(*)
    FROM billing.webhook_event WHERE body_zstd IS NOT NULL GROUP BY 1
) counted GROUP BY key ORDER BY key NULLS LAST
-- name: other_raw_page
-- Bodies that another key sealed, or none; locked until they are replaced.
SELECT page_id, body_zstd FROM billing.raw_page
WHERE page_id > %(after)s AND body_zstd IS NOT NULL AND substr(body_zstd, 1, 8) <> %(head)s
ORDER BY page_id LIMIT %(limit)s FOR UPDATE
-- name: replace_raw_page
-- The same body, sealed anew.
UPDATE billing.raw_page SET body_zstd = %(body)s WHERE page_id = %(number)s
-- name: other_webhook_event
-- The same of webhooks.
SELECT event_no, body_zstd FROM billing.webhook_event
WHERE event_no > %(after)s AND body_zstd IS NOT NULL AND substr(body_zstd, 1, 8) <> %(head)s
ORDER BY event_no LIMIT %(limit)s FOR UPDATE
-- name: replace_webhook_event
-- The same of webhooks.
UPDATE billing.webhook_event SET body_zstd = %(body)s WHERE event_no = %(number)s
