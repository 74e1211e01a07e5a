-- Bodies end with their retention; the rows stay, because they order versions (billing.page_reading)
-- and recognise repeated webhooks.
ALTER TABLE billing.raw_page ALTER COLUMN body_zstd DROP NOT NULL;
COMMENT ON COLUMN billing.raw_page.body_zstd IS
    'Personal data. The body as received, packed; null: its retention ended.';
ALTER TABLE billing.webhook_event ALTER COLUMN body_zstd DROP NOT NULL;
COMMENT ON COLUMN billing.webhook_event.body_zstd IS
    'Personal data. The body as received, packed; null: its retention ended.';

CREATE FUNCTION billing.drop_attempt_months(before timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    oldest text := 'http_attempt_' || to_char(before AT TIME ZONE 'UTC', 'YYYYMM');
    dropped integer := 0;
    name text;
BEGIN
    -- One at a time, with billing.keep_attempt_months.
    PERFORM pg_advisory_xact_lock(hashtextextended('billing.http_attempt', 4));
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'billing.http_attempt'::regclass AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE billing.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION billing.drop_attempt_months(timestamptz) IS
    'Drops the months of billing.http_attempt that ended before; how many.';
