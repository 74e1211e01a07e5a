-- Legal holds: what must not be deleted, whatever the retention says.
CREATE TABLE loyalty.legal_hold (
    hold_no             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id           bigint REFERENCES loyalty.member,
    lifts_no            bigint UNIQUE REFERENCES loyalty.legal_hold,
    reason              text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author              text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    recorded_at         timestamptz NOT NULL DEFAULT now(),
    run_id              text NOT NULL
);
COMMENT ON TABLE loyalty.legal_hold IS
    'Legal holds and their lifting, append-only. While one is in force, retention deletes nothing.';
COMMENT ON COLUMN loyalty.legal_hold.hold_no IS 'Number of the hold.';
COMMENT ON COLUMN loyalty.legal_hold.member_id IS
    'Member who must not be erased; null: nobody may be erased.';
COMMENT ON COLUMN loyalty.legal_hold.lifts_no IS
    'The hold that this row lifts; null: this row is a hold.';
COMMENT ON COLUMN loyalty.legal_hold.reason IS
    'Why, e.g. the case''s number. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.legal_hold.author IS 'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.legal_hold.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.legal_hold.run_id IS 'Prefect flow run or command that entered it.';
CREATE INDEX legal_hold_member ON loyalty.legal_hold (member_id);
COMMENT ON INDEX loyalty.legal_hold_member IS 'Holds on a member.';
CREATE TRIGGER legal_hold_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.legal_hold
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE FUNCTION audit.on_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(
        CASE WHEN NEW.lifts_no IS NULL THEN 'hold.place' ELSE 'hold.lift' END, 'success',
        coalesce('member ' || NEW.member_id, 'everybody'),
        jsonb_build_object('hold_no', NEW.hold_no, 'lifts_no', NEW.lifts_no, 'author', NEW.author),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_hold() IS 'Records that a legal hold was placed or lifted.';
CREATE TRIGGER legal_hold_audited AFTER INSERT ON loyalty.legal_hold FOR EACH ROW
    EXECUTE FUNCTION audit.on_hold();

-- What was erased where, for the person who asked and for whoever checks it.
CREATE TABLE loyalty.erasure_certificate (
    certificate_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id           bigint NOT NULL REFERENCES loyalty.member,
    members             bigint[] NOT NULL CHECK (cardinality(members) > 0),
    reason              text NOT NULL,
    author              text NOT NULL,
    erased              jsonb NOT NULL CHECK (jsonb_typeof(erased) = 'object'),
    remains             jsonb NOT NULL CHECK (jsonb_typeof(remains) = 'object'),
    not_reached         text[] NOT NULL,
    issued_at           timestamptz NOT NULL DEFAULT now(),
    run_id              text NOT NULL
);
COMMENT ON TABLE loyalty.erasure_certificate IS
    'What each erasure removed where, append-only; without anything that names the person.';
COMMENT ON COLUMN loyalty.erasure_certificate.certificate_no IS 'Number of the certificate.';
COMMENT ON COLUMN loyalty.erasure_certificate.member_id IS 'Member who was erased.';
COMMENT ON COLUMN loyalty.erasure_certificate.members IS
    'The member and everybody who was merged into them.';
COMMENT ON COLUMN loyalty.erasure_certificate.reason IS 'Why, e.g. the request''s number.';
COMMENT ON COLUMN loyalty.erasure_certificate.author IS 'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.erasure_certificate.erased IS 'Per place, how many rows or files.';
COMMENT ON COLUMN loyalty.erasure_certificate.remains IS
    'Per place, how many rows or files still name the person, and are kept on purpose.';
COMMENT ON COLUMN loyalty.erasure_certificate.not_reached IS
    'Places that could not be looked through or cleaned.';
COMMENT ON COLUMN loyalty.erasure_certificate.issued_at IS 'When.';
COMMENT ON COLUMN loyalty.erasure_certificate.run_id IS 'Prefect flow run or command.';
CREATE INDEX erasure_certificate_member ON loyalty.erasure_certificate (member_id);
COMMENT ON INDEX loyalty.erasure_certificate_member IS 'Certificates of a member.';
CREATE TRIGGER erasure_certificate_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.erasure_certificate
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE FUNCTION audit.on_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('member.certificate', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('certificate_no', NEW.certificate_no, 'erased', NEW.erased,
            'remains', NEW.remains, 'not_reached', to_jsonb(NEW.not_reached)),
        of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_certificate() IS 'Records what an erasure removed where.';
CREATE TRIGGER erasure_certificate_audited AFTER INSERT ON loyalty.erasure_certificate
    FOR EACH ROW EXECUTE FUNCTION audit.on_certificate();
