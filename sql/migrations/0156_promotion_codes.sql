-- Codes of promotions that members enter. What a code opens, when and how often, is a condition of
-- promotions; here is who entered which, for good.
CREATE TABLE loyalty.code_entry (
    entry_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id   bigint NOT NULL REFERENCES loyalty.member,
    code        text COLLATE "C" NOT NULL CHECK (code ~ '^[A-Z0-9][A-Z0-9-]{2,31}$'),
    entered_at  timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(entered_at)),
    recorded_by text NOT NULL CHECK (btrim(recorded_by) <> '' AND length(recorded_by) <= 200),
    run_id      text NOT NULL
);
COMMENT ON TABLE loyalty.code_entry IS
    'Codes of promotions that members entered, append-only: their sales from then on earn by them.';
COMMENT ON COLUMN loyalty.code_entry.entry_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.code_entry.member_id IS
    'Member as named when it was entered; after a merge it counts for whoever earns for them.';
COMMENT ON COLUMN loyalty.code_entry.code IS 'The code, in capital letters.';
COMMENT ON COLUMN loyalty.code_entry.entered_at IS 'Sales from this instant on may earn by it.';
COMMENT ON COLUMN loyalty.code_entry.recorded_by IS
    'Personal data of staff. Who entered it, as a rule an API key''s prefix.';
COMMENT ON COLUMN loyalty.code_entry.run_id IS
    'Prefect flow run, command or request of the API that entered it.';
CREATE INDEX code_entry_member ON loyalty.code_entry (member_id, entry_no);
COMMENT ON INDEX loyalty.code_entry_member IS 'Codes of a member.';
CREATE INDEX code_entry_code ON loyalty.code_entry (code);
COMMENT ON INDEX loyalty.code_entry_code IS 'How often a code was entered.';
CREATE TRIGGER code_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.code_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER code_entry_marks AFTER INSERT ON loyalty.code_entry
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_named();

CREATE FUNCTION loyalty.lock_code(of_code text) RETURNS void LANGUAGE sql
SET lock_timeout = '2s' AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('loyalty.code_entry ' || of_code, 11))
$$;
COMMENT ON FUNCTION loyalty.lock_code(text) IS
    'Locks a code until the transaction ends: of requests at the same instant no more succeed than '
    'it has uses. Fails after two seconds.';

CREATE VIEW analytics.code_entry AS
SELECT c.entry_no, o.owner_id AS member_id, c.code, c.entered_at
FROM loyalty.code_entry c JOIN loyalty.member_owner o USING (member_id);
COMMENT ON VIEW analytics.code_entry IS 'One row per code of a promotion that a member entered.';
COMMENT ON COLUMN analytics.code_entry.entry_no IS 'Order of entry.';
COMMENT ON COLUMN analytics.code_entry.member_id IS 'Member it counts for (pseudonymous).';
COMMENT ON COLUMN analytics.code_entry.code IS 'The code.';
COMMENT ON COLUMN analytics.code_entry.entered_at IS 'When: sales from then on may earn by it.';

GRANT SELECT, INSERT ON loyalty.code_entry TO twezah_api;
GRANT SELECT ON loyalty.code_entry TO twezah_panel;
GRANT SELECT, INSERT, UPDATE, DELETE ON loyalty.code_entry TO twezah_worker;
GRANT EXECUTE ON FUNCTION loyalty.lock_code(text) TO twezah_api, twezah_worker;
GRANT SELECT ON analytics.code_entry TO analyst, twezah_api, twezah_panel, twezah_worker;
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        GRANT MAINTAIN ON loyalty.code_entry TO twezah_worker;
    END IF;
END $$;
