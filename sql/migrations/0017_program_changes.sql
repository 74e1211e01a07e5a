-- Who changed the rules, when, why, and what the file said.
CREATE TABLE loyalty.program_change (
    change_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    author       text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    reason       text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    applied_at   timestamptz NOT NULL DEFAULT now(),
    run_id       text NOT NULL,
    file_text    text NOT NULL,
    versions     jsonb NOT NULL CHECK (jsonb_typeof(versions) = 'object'),
    reaches      timestamptz,
    recomputed   boolean NOT NULL,
    members      bigint NOT NULL CHECK (members >= 0),
    points       bigint NOT NULL
);
COMMENT ON TABLE loyalty.program_change IS 'Changes of the rules, append-only: who, when, why, and the file as it was applied.';
COMMENT ON COLUMN loyalty.program_change.change_id IS 'Number of the change.';
COMMENT ON COLUMN loyalty.program_change.author IS 'Who decided it.';
COMMENT ON COLUMN loyalty.program_change.reason IS 'Why.';
COMMENT ON COLUMN loyalty.program_change.applied_at IS 'When it was applied.';
COMMENT ON COLUMN loyalty.program_change.run_id IS 'Prefect flow run or command that applied it.';
COMMENT ON COLUMN loyalty.program_change.file_text IS 'The rules as they were written (points.toml).';
COMMENT ON COLUMN loyalty.program_change.versions IS 'The versions it made, e.g. {"program": 2, "black-november": 1}.';
COMMENT ON COLUMN loyalty.program_change.reaches IS 'First instant at which the rules differ from before; null: nowhere.';
COMMENT ON COLUMN loyalty.program_change.recomputed IS 'Whether past sales were recomputed.';
COMMENT ON COLUMN loyalty.program_change.members IS 'Members whose points for stored sales changed, as found beforehand.';
COMMENT ON COLUMN loyalty.program_change.points IS 'By how many points, all together.';
CREATE TRIGGER program_change_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.program_change
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
GRANT SELECT ON loyalty.program_change TO analyst;
