-- Lists of members, for promotions that are for some only. Rows are never changed: the last one for
-- a member, list and beginning counts, so that an end is another row.
CREATE TABLE loyalty.list_member (
    row_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id   bigint NOT NULL REFERENCES loyalty.member,
    list        text COLLATE "C" NOT NULL CHECK (list ~ '^[a-z][a-z0-9_-]{0,62}$'),
    valid_from  timestamptz NOT NULL CHECK (isfinite(valid_from)),
    valid_to    timestamptz CHECK (isfinite(valid_to) AND valid_to >= valid_from),
    reason      text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author      text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id      text NOT NULL
);
COMMENT ON TABLE loyalty.list_member IS
    'Who is on a list, append-only. To correct a row, enter another for the same member, list and '
    'valid_from: the last entered counts.';
COMMENT ON COLUMN loyalty.list_member.row_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.list_member.member_id IS
    'Member as named when it was entered; after a merge it counts for whoever earns for them.';
COMMENT ON COLUMN loyalty.list_member.list IS 'Name of the list.';
COMMENT ON COLUMN loyalty.list_member.valid_from IS 'Sales from this instant on...';
COMMENT ON COLUMN loyalty.list_member.valid_to IS
    '...until before this one; null: for good; the same instant: never.';
COMMENT ON COLUMN loyalty.list_member.reason IS 'Why. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.list_member.author IS 'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.list_member.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.list_member.run_id IS
    'Prefect flow run, command or request of the API that entered it.';
CREATE INDEX list_member_member ON loyalty.list_member (member_id, list, valid_from, row_no);
COMMENT ON INDEX loyalty.list_member_member IS 'Lists of a member.';
CREATE TRIGGER list_member_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.list_member
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER list_member_marks AFTER INSERT ON loyalty.list_member
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_named();

CREATE VIEW loyalty.list_span AS
SELECT member_id, list, valid_from, valid_to FROM (
    SELECT DISTINCT ON (member_id, list, valid_from) member_id, list, valid_from, valid_to
    FROM loyalty.list_member ORDER BY member_id, list, valid_from, row_no DESC
) last
WHERE valid_to IS NULL OR valid_to > valid_from;
COMMENT ON VIEW loyalty.list_span IS 'Who is on a list, as it counts.';
COMMENT ON COLUMN loyalty.list_span.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.list_span.list IS 'Name of the list.';
COMMENT ON COLUMN loyalty.list_span.valid_from IS 'Sales from this instant on...';
COMMENT ON COLUMN loyalty.list_span.valid_to IS '...until before this one; null: for good.';

CREATE FUNCTION audit.on_list() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE many bigint; one bigint; run text; named jsonb;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id), min(run_id), jsonb_agg(DISTINCT list)
    INTO many, one, run, named FROM changed;
    IF many > 0 THEN
        PERFORM audit.record('list', 'success',
            CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END,
            jsonb_build_object('lists', named), of_records => many, of_run_id => run);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_list() IS
    'Records who was put on lists, or taken off; many at once in one entry.';
CREATE TRIGGER list_member_audited AFTER INSERT ON loyalty.list_member
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.on_list();

CREATE VIEW analytics.list_member AS
SELECT o.owner_id AS member_id, s.list, s.valid_from, s.valid_to
FROM loyalty.list_span s JOIN loyalty.member_owner o USING (member_id);
COMMENT ON VIEW analytics.list_member IS 'Who is on which list of members, and when.';
COMMENT ON COLUMN analytics.list_member.member_id IS 'Member it counts for (pseudonymous).';
COMMENT ON COLUMN analytics.list_member.list IS 'Name of the list.';
COMMENT ON COLUMN analytics.list_member.valid_from IS 'From when on.';
COMMENT ON COLUMN analytics.list_member.valid_to IS 'Until before this instant; null: for good.';

GRANT SELECT, INSERT ON loyalty.list_member TO twezah_api;
GRANT SELECT ON loyalty.list_member TO twezah_panel;
GRANT SELECT, INSERT, UPDATE, DELETE ON loyalty.list_member TO twezah_worker;
GRANT SELECT ON loyalty.list_span TO twezah_api, twezah_panel, twezah_worker;
GRANT SELECT ON analytics.list_member TO analyst, twezah_api, twezah_panel, twezah_worker;
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        GRANT MAINTAIN ON loyalty.list_member TO twezah_worker;
    END IF;
END $$;
