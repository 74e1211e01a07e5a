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
-- name: wait_shortly
-- Who has a table in use for longer is not waited for.
SET lock_timeout = '10s'
-- name: recycle_no_log
-- Segments of the write-ahead log are deleted instead of being kept for reuse.
ALTER SYSTEM SET wal_recycle = off
-- name: recycle_log_again
-- As it was.
ALTER SYSTEM RESET wal_recycle
-- name: reload_settings
-- Lets the server read its settings again.
SELECT pg_reload_conf()
-- name: segments_ahead
-- Segments that are kept for reuse: files named after the one that is written now.
SELECT count(*) FROM pg_ls_waldir()
WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_lsn())
-- name: next_segment
-- Ends the segment that is written now. (An empty one would not be ended.)
SELECT pg_switch_wal() FROM (SELECT pg_logical_emit_message(false, 'twezah', '')) AS written
-- name: checkpoint
-- Whatever the log holds is in the tables.
CHECKPOINT
