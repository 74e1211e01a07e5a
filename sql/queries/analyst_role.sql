-- name: defaults
-- What a session of an analyst begins with; temp_file_limit cannot be changed by the session.
ALTER ROLE analyst RESET ALL;
ALTER ROLE analyst SET default_transaction_read_only = on;
ALTER ROLE analyst SET statement_timeout = '15min';
ALTER ROLE analyst SET lock_timeout = '10s';
ALTER ROLE analyst SET idle_in_transaction_session_timeout = '10min';
ALTER ROLE analyst SET temp_file_limit = '10GB';
ALTER ROLE analyst NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    CONNECTION LIMIT 20
-- name: memberships
-- Roles that the analyst could become.
SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
WHERE m.member = 'analyst'::regrole
-- name: close_side_doors
-- What PostgreSQL lets everybody do and an analyst has no use for: temporary tables and functions,
-- large objects (both fill the disk), locks and log entries that our own runs would wait for or
-- carry. Superusers keep all of it, and the roles of our own processes (0103) what they use.
DO $$
DECLARE
    ours text := 'twezah_api, twezah_worker, twezah_panel';
    door record;
BEGIN
    EXECUTE format('GRANT TEMPORARY ON DATABASE %%I TO %%s', current_database(), ours);
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %%I FROM PUBLIC', current_database());
    FOR door IN
        SELECT oid::regprocedure AS signature, proname FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
          AND (proname ~ '^(pg_advisory|pg_try_advisory|lo_|lowrite|loread)'
               OR proname IN ('pg_logical_emit_message', 'pg_notify'))
    LOOP
        IF door.proname ~ '^pg_(advisory|try_advisory|notify)' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %%s TO %%s', door.signature, ours);
        END IF;
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %%s FROM PUBLIC', door.signature);
    END LOOP;
    FOR door IN
        SELECT datname FROM pg_database WHERE datname <> current_database() AND datallowconn
    LOOP
        EXECUTE format('REVOKE CONNECT ON DATABASE %%I FROM PUBLIC', door.datname);
    END LOOP;
END $$
-- name: end_sessions
-- Ends the sessions of analysts over TCP.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = 'analyst' AND client_addr IS NOT NULL
-- name: end_overlong
-- Ends sessions of analysts whose transaction is older than it may be, whatever they have set.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = 'analyst' AND xact_start < now() - make_interval(mins => %(minutes)s)
