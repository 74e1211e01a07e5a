-- name: sizes
-- Our tables: rows (estimated) and bytes.
SELECT n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint,
       pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('billing', 'loyalty', 'audit') AND c.relkind IN ('r', 'p')
ORDER BY 3 DESC, 1
-- name: analyze
-- New statistics, for good plans after a large load.
ANALYZE
