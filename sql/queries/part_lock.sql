-- name: begin_session
-- A session that asks nothing for so long is ended by the server, whatever became of the network:
-- then its lock is free.
SELECT set_config('idle_session_timeout', %(milliseconds)s::text, false)
-- name: acquire
-- Never on a standby server: a lock there says nothing about the primary.
SELECT CASE WHEN pg_is_in_recovery() THEN false
            ELSE pg_try_advisory_lock(%(class)s::int, %(part)s::int) END
-- name: is_primary
SELECT NOT pg_is_in_recovery()
