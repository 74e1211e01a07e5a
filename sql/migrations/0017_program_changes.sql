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

CREATE VIEW analytics.award_rule AS
SELECT e.system, e.account, e.external_id, e.member_id, e.entry_no, r.rule, p.promotion_id, p.version AS promotion_version,
       coalesce(nullif(p.parameters ->> 'title', ''), r.rule) AS title, r.points, e.due_after, e.tier, e.program_version, e.event_at, e.posted_at,
       e.entry_no = max(e.entry_no) OVER (PARTITION BY e.member_id, e.external_id, e.account, e.system) AS is_last
FROM loyalty.award_entry e
CROSS JOIN LATERAL (SELECT key AS rule, value::bigint AS points FROM jsonb_each_text(e.breakdown)) r
LEFT JOIN loyalty.promotion p ON p.promotion_id = split_part(r.rule, '@', 1) AND p.version::text = split_part(r.rule, '@', 2);
COMMENT ON VIEW analytics.award_rule IS 'One row per ledger entry and rule: the points of an entry''s rules sum to its due_after. The last entry of a sale (is_last) is what is due now.';
COMMENT ON COLUMN analytics.award_rule.system IS 'Billing system of the sale.';
COMMENT ON COLUMN analytics.award_rule.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.award_rule.external_id IS 'Id of the sale.';
COMMENT ON COLUMN analytics.award_rule.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.award_rule.entry_no IS 'Position in the chain of this sale and member.';
COMMENT ON COLUMN analytics.award_rule.rule IS 'base, tier, or a promotion and its version.';
COMMENT ON COLUMN analytics.award_rule.promotion_id IS 'Promotion; null for base and tier.';
COMMENT ON COLUMN analytics.award_rule.promotion_version IS 'Its version.';
COMMENT ON COLUMN analytics.award_rule.title IS 'Its title, or the rule''s name.';
COMMENT ON COLUMN analytics.award_rule.points IS 'Points of this rule in due_after.';
COMMENT ON COLUMN analytics.award_rule.due_after IS 'Points due for the sale from this entry on.';
COMMENT ON COLUMN analytics.award_rule.tier IS 'Tier in force at the sale.';
COMMENT ON COLUMN analytics.award_rule.program_version IS 'Version of the program in force at the sale.';
COMMENT ON COLUMN analytics.award_rule.event_at IS 'When the sale happened.';
COMMENT ON COLUMN analytics.award_rule.posted_at IS 'When the entry was posted.';
COMMENT ON COLUMN analytics.award_rule.is_last IS 'Whether it is the last entry of its chain.';
GRANT SELECT ON analytics.award_rule TO analyst;
