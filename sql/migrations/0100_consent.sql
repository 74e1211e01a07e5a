-- Consent of members: who withdrew it earns nothing from then on, until it is given again.
CREATE TABLE loyalty.consent (
    consent_no          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id           bigint NOT NULL REFERENCES loyalty.member,
    given               boolean NOT NULL,
    reason              text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author              text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    recorded_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id              text NOT NULL
);
COMMENT ON TABLE loyalty.consent IS
    'Consent withdrawn and given again, append-only. Without a row a member takes part.';
COMMENT ON COLUMN loyalty.consent.consent_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.consent.member_id IS
    'Member; it counts for all who are merged into one customer.';
COMMENT ON COLUMN loyalty.consent.given IS 'False: withdrawn. True: given again.';
COMMENT ON COLUMN loyalty.consent.reason IS
    'Why, e.g. the number of the request. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.consent.author IS 'Personal data of staff. Who entered it.';
COMMENT ON COLUMN loyalty.consent.recorded_at IS
    'From then on it counts: for sales that happen later, never for earlier ones.';
COMMENT ON COLUMN loyalty.consent.run_id IS 'Prefect flow run or command that entered it.';
CREATE INDEX consent_member ON loyalty.consent (member_id);
COMMENT ON INDEX loyalty.consent_member IS 'What a member decided.';
CREATE TRIGGER consent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.consent
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE FUNCTION loyalty.mark_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_consent() IS
    'Marks members whose consent changed, for the next award step.';
CREATE TRIGGER consent_marks AFTER INSERT ON loyalty.consent REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_consent();

CREATE FUNCTION audit.on_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(
        CASE WHEN NEW.given THEN 'consent.give' ELSE 'consent.withdraw' END, 'success',
        'member ' || NEW.member_id,
        jsonb_build_object('consent_no', NEW.consent_no, 'author', NEW.author),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_consent() IS 'Records that consent was withdrawn or given again.';
CREATE TRIGGER consent_audited AFTER INSERT ON loyalty.consent FOR EACH ROW
    EXECUTE FUNCTION audit.on_consent();

CREATE VIEW loyalty.withdrawn_span AS
SELECT member_id, withdrawn_from, withdrawn_until
FROM (
    SELECT coalesce(o.owner_id, c.member_id) AS member_id, c.given,
           c.recorded_at AS withdrawn_from,
           lead(c.recorded_at) OVER (PARTITION BY coalesce(o.owner_id, c.member_id)
               ORDER BY c.recorded_at, c.consent_no) AS withdrawn_until
    FROM loyalty.consent c LEFT JOIN loyalty.merged_member o USING (member_id)
) decided
WHERE NOT given;
COMMENT ON VIEW loyalty.withdrawn_span IS
    'When members took no part: sales of that time earn nothing.';
COMMENT ON COLUMN loyalty.withdrawn_span.member_id IS
    'Member who earns (for all who were merged into them).';
COMMENT ON COLUMN loyalty.withdrawn_span.withdrawn_from IS 'Sales from this instant on earn nothing.';
COMMENT ON COLUMN loyalty.withdrawn_span.withdrawn_until IS 'Until before this one; null: still.';

CREATE VIEW analytics.consent AS
SELECT member_id, given, reason, recorded_at, run_id FROM loyalty.consent;
COMMENT ON VIEW analytics.consent IS 'Consent withdrawn and given again, one row per decision.';
COMMENT ON COLUMN analytics.consent.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.consent.given IS 'False: withdrawn. True: given again.';
COMMENT ON COLUMN analytics.consent.reason IS 'Why.';
COMMENT ON COLUMN analytics.consent.recorded_at IS 'From when on it counts.';
COMMENT ON COLUMN analytics.consent.run_id IS 'Prefect flow run or command that entered it.';
GRANT SELECT ON analytics.consent TO analyst;
