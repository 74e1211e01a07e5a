-- What the roles (0103) may do with tables, views and sequences that are newer than they.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA billing, loyalty TO twezah_worker;
-- (Who may insert into a table may use the sequences of its columns.)
GRANT USAGE, SELECT ON SEQUENCE billing.page_renewal TO twezah_worker;
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        GRANT MAINTAIN ON ALL TABLES IN SCHEMA billing, loyalty TO twezah_worker;
    END IF;
END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO twezah_api, twezah_worker, twezah_panel;

-- The pages show why a webhook could not be used and what it became, and the points posted.
GRANT SELECT (first_reason, first_failed_at, documents) ON billing.webhook_event
    TO twezah_api, twezah_panel;
GRANT SELECT ON loyalty.posting TO twezah_panel;

-- Functions with their owner's rights are for the roles of the program, and not for analysts.
DO $$
DECLARE
    owned regprocedure;
BEGIN
    FOR owned IN
        SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.nspname IN ('audit', 'billing', 'loyalty', 'analytics')
        ORDER BY p.oid
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', owned);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO twezah_api, twezah_worker, twezah_panel',
                       owned);
    END LOOP;
END
$$;
