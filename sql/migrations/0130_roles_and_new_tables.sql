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
