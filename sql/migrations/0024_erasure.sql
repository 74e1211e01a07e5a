-- Members whose personal data was removed. Their sales and points stay, under the number.
CREATE TABLE loyalty.member_erasure (
    erasure_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id   bigint NOT NULL UNIQUE REFERENCES loyalty.member,
    reason      text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author      text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    erased_at   timestamptz NOT NULL DEFAULT now(),
    run_id      text NOT NULL
);
COMMENT ON TABLE loyalty.member_erasure IS 'Members whose personal data was removed, append-only. Documents that were theirs stay theirs, also when they are read again.';
COMMENT ON COLUMN loyalty.member_erasure.erasure_no IS 'Number of the erasure.';
COMMENT ON COLUMN loyalty.member_erasure.member_id IS 'Member; whoever was merged into them is erased with them, by a row of their own.';
COMMENT ON COLUMN loyalty.member_erasure.reason IS 'Why, e.g. the request''s number. No names.';
COMMENT ON COLUMN loyalty.member_erasure.author IS 'Who decided it.';
COMMENT ON COLUMN loyalty.member_erasure.erased_at IS 'When.';
COMMENT ON COLUMN loyalty.member_erasure.run_id IS 'Prefect flow run, or command.';
CREATE TRIGGER member_erasure_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.member_erasure
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE FUNCTION audit.on_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('member.erase', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('erasure_no', NEW.erasure_no, 'author', NEW.author), of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_erasure() IS 'Records that a member''s personal data was removed.';
CREATE TRIGGER member_erasure_audited AFTER INSERT ON loyalty.member_erasure FOR EACH ROW EXECUTE FUNCTION audit.on_erasure();
