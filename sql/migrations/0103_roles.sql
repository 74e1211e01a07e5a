-- Least privilege: what the API, the worker and the panel may do in this database. Roles belong to
-- the whole server: two databases may create them at once, and a hosted database may forbid it.
DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['twezah_api', 'twezah_worker', 'twezah_panel'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END $$;

-- Whoever may change something may have it recorded; nobody may write the log itself.
ALTER FUNCTION audit.record(text, text, text, jsonb, text, text, bigint, bigint, text, text)
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION audit.seal() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION billing.add_attempt_month(date)
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION billing.keep_attempt_months(integer)
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION billing.drop_attempt_months(timestamptz)
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

GRANT USAGE ON SCHEMA billing, loyalty, analytics, audit
    TO twezah_api, twezah_worker, twezah_panel;
GRANT SELECT ON public.schema_migration TO twezah_api, twezah_worker, twezah_panel;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO twezah_api, twezah_worker, twezah_panel;
GRANT SELECT ON audit.entry TO twezah_api, twezah_worker, twezah_panel;

-- The worker runs the flows: all of the books, nothing of the log, and no definitions.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA billing, loyalty TO twezah_worker;
-- It renews the statistics. (Before PostgreSQL 17 only the owner can: there autovacuum does.)
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        GRANT MAINTAIN ON ALL TABLES IN SCHEMA billing, loyalty, audit TO twezah_worker;
    END IF;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON audit.seen TO twezah_worker;
-- (An erasure looks through it too; it is empty for all but its own transaction.)
GRANT SELECT ON audit.pending TO twezah_worker;

-- The API answers strangers: it stores webhooks, and reads sales and points. It reads no stored page,
-- no token of a billing system, and writes nothing of the books.
GRANT SELECT ON ALL TABLES IN SCHEMA loyalty TO twezah_api;
GRANT SELECT ON billing.invoice, billing.invoice_line, billing.reject, billing.sync_run,
    billing.sync_attempt, billing.sync_cursor, billing.award_policy, billing.award_policy_span,
    billing.document_note, billing.deleted_document, billing.sale_reference, billing.standby,
    billing.webhook_endpoint, billing.webhook_secret, billing.webhook_subscription,
    billing.api_key, billing.item TO twezah_api;
GRANT SELECT (event_no, endpoint_no, dedup_key, kind, received_at, state, attempts, next_attempt_at,
    finished_at, reason, sync_id, run_id, body_bytes), INSERT ON billing.webhook_event TO twezah_api;
GRANT SELECT, INSERT ON billing.http_attempt TO twezah_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.api_request, billing.rate_bucket TO twezah_api;
GRANT UPDATE (last_used_at) ON billing.api_key TO twezah_api;
GRANT UPDATE (handshake) ON billing.webhook_endpoint TO twezah_api;

-- The panel makes pages: it reads what they show, no phone, no secret, no body, and writes nothing.
GRANT SELECT ON billing.invoice, billing.invoice_line, billing.reject, billing.sync_run,
    billing.sync_attempt, billing.sync_cursor, billing.award_policy, billing.award_policy_span,
    billing.document_note, billing.deleted_document, billing.sale_reference, billing.standby,
    billing.vendor_field, billing.webhook_endpoint, billing.webhook_subscription,
    billing.http_attempt TO twezah_panel;
GRANT SELECT (event_no, endpoint_no, dedup_key, kind, received_at, state, attempts, next_attempt_at,
    finished_at, reason, sync_id, run_id, body_bytes) ON billing.webhook_event TO twezah_panel;
GRANT SELECT (secret_no, endpoint_no, created_at, expires_at) ON billing.webhook_secret
    TO twezah_panel;
GRANT SELECT ON ALL TABLES IN SCHEMA loyalty TO twezah_panel;
REVOKE SELECT ON loyalty.member FROM twezah_panel;
GRANT SELECT (member_id, created_at, timezone) ON loyalty.member TO twezah_panel;
