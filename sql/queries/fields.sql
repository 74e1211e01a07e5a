-- name: known
-- Fields that the account's records had, per list.
SELECT stream, path, json_type, records_with, records_since, records_without, gone_at IS NOT NULL
FROM billing.vendor_field
WHERE system = %(system)s AND account = %(account)s AND stream = ANY(%(streams)s)
-- name: save
-- Counts in what a read saw; new fields are added.
INSERT INTO billing.vendor_field AS known (system, account, stream, path, json_type, base_line,
    first_sync_id, records_with, records_since)
SELECT %(system)s, %(account)s, f.stream, f.path, f.json_type, f.base_line, %(sync_id)s, f.seen,
       f.looked_at
FROM unnest(%(streams)s::text[], %(paths)s::text[], %(types)s::text[], %(base_lines)s::boolean[],
    %(seen)s::bigint[],
            %(looked_at)s::bigint[]) AS f(stream, path, json_type, base_line, seen, looked_at)
ORDER BY f.stream, f.path, f.json_type
ON CONFLICT (system, account, stream, path, json_type) DO UPDATE
SET records_with = known.records_with + excluded.records_with,
    records_since = known.records_since + excluded.records_since,
    records_without = CASE WHEN excluded.records_with > 0 THEN 0
        ELSE known.records_without + excluded.records_since END,
    last_seen_at = CASE WHEN excluded.records_with > 0 THEN now() ELSE known.last_seen_at END,
    gone_at = CASE WHEN excluded.records_with = 0 THEN known.gone_at END
-- name: gone
-- Marks fields as gone.
UPDATE billing.vendor_field SET gone_at = now()
WHERE system = %(system)s AND account = %(account)s AND gone_at IS NULL
  AND (stream, path) IN (SELECT * FROM unnest(%(streams)s::text[], %(paths)s::text[]))
