-- When members rose and fell, and the tier in force now, also where the program evaluates tiers.
CREATE TABLE loyalty.tier_entry (
    member_id  bigint NOT NULL REFERENCES loyalty.member,
    valid_from timestamptz NOT NULL CHECK (isfinite(valid_from)),
    entry_no   integer NOT NULL CHECK (entry_no >= 1),
    tier       text,
    posted_at  timestamptz NOT NULL DEFAULT now(),
    run_id     text NOT NULL,
    PRIMARY KEY (member_id, valid_from, entry_no),
    CONSTRAINT chain_starts_with_a_tier CHECK (entry_no > 1 OR tier IS NOT NULL)
);
COMMENT ON TABLE loyalty.tier_entry IS 'Steps of evaluated tiers, append-only: one chain per member and instant; the last entry of a chain counts. Derived from the stored sales; awards do not read it.';
COMMENT ON COLUMN loyalty.tier_entry.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.tier_entry.valid_from IS 'From when the member has the tier.';
COMMENT ON COLUMN loyalty.tier_entry.entry_no IS 'Position in the chain, from 1: a late or corrected sale changes what the tier was.';
COMMENT ON COLUMN loyalty.tier_entry.tier IS 'The tier from then on; null: nothing changed then after all.';
COMMENT ON COLUMN loyalty.tier_entry.posted_at IS 'When it was found out.';
COMMENT ON COLUMN loyalty.tier_entry.run_id IS 'Prefect flow run that did.';
CREATE TRIGGER tier_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.tier_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE VIEW loyalty.tier_step AS
SELECT member_id, valid_from, tier FROM (
    SELECT DISTINCT ON (member_id, valid_from) member_id, valid_from, tier FROM loyalty.tier_entry
    ORDER BY member_id, valid_from, entry_no DESC
) last
WHERE tier IS NOT NULL
UNION ALL
-- Where nothing was evaluated, what the loyalty app has set.
SELECT member_id, valid_from, tier FROM (
    SELECT DISTINCT ON (member_id, valid_from) member_id, valid_from, tier FROM loyalty.member_tier
    ORDER BY member_id, valid_from, tier_no DESC
) given
WHERE NOT EXISTS (SELECT FROM loyalty.tier_entry e WHERE e.member_id = given.member_id);
COMMENT ON VIEW loyalty.tier_step IS 'When a member''s tier changed, and to which: evaluated, or set by the loyalty app.';
COMMENT ON COLUMN loyalty.tier_step.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.tier_step.valid_from IS 'From when the member has the tier.';
COMMENT ON COLUMN loyalty.tier_step.tier IS 'The tier.';

CREATE FUNCTION loyalty.tier_now(of_member bigint) RETURNS TABLE (tier text, valid_from timestamptz) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT coalesce(s.tier, p.entry_tier), s.valid_from
    FROM (SELECT entry_tier FROM loyalty.program WHERE program.valid_from <= now() ORDER BY version DESC LIMIT 1) p
    LEFT JOIN LATERAL (
        SELECT s.tier, s.valid_from FROM loyalty.tier_step s
        WHERE s.member_id = of_member AND s.valid_from <= now() ORDER BY s.valid_from DESC LIMIT 1
    ) s ON true
$$;
COMMENT ON FUNCTION loyalty.tier_now(bigint) IS 'The tier in force now, and since when (null: from the beginning).';

CREATE VIEW analytics.tier_history AS
SELECT member_id, tier, valid_from, lead(valid_from) OVER (PARTITION BY member_id ORDER BY valid_from) AS valid_to
FROM loyalty.tier_step;
COMMENT ON VIEW analytics.tier_history IS 'One row per member and time with a tier; before the first, the program''s entry tier.';
COMMENT ON COLUMN analytics.tier_history.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.tier_history.tier IS 'Tier in force for sales from valid_from until before valid_to.';
COMMENT ON COLUMN analytics.tier_history.valid_from IS 'First instant.';
COMMENT ON COLUMN analytics.tier_history.valid_to IS 'First instant after it; null: open.';

CREATE OR REPLACE VIEW analytics.member AS
SELECT m.member_id, t.tier, coalesce(b.balance_points, 0) AS balance_points,
       coalesce(b.added_points, 0) AS added_points, coalesce(b.taken_back_points, 0) AS taken_back_points,
       coalesce(b.entries, 0) AS entries, b.last_posted_at, m.created_at, o.owner_id AS merged_into
FROM loyalty.member m
LEFT JOIN loyalty.member_balance b USING (member_id)
LEFT JOIN loyalty.merged_member o USING (member_id)
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t;

-- A referrer whose reward is taken back is told so.
ALTER TABLE loyalty.award_entry DROP CONSTRAINT award_entry_reason_check;
ALTER TABLE loyalty.award_entry ADD CONSTRAINT award_entry_reason_check
    CHECK (reason IN ('award', 'edit', 'refund', 'void', 'moved', 'referral')) NOT VALID;
ALTER TABLE loyalty.award_entry VALIDATE CONSTRAINT award_entry_reason_check;
COMMENT ON COLUMN loyalty.award_entry.reason IS 'award: first entry of the sale; edit, refund, void: the document changed so; moved: it belongs to another member now; referral: the friend''s sale brings the referrer no reward any more.';

GRANT SELECT ON loyalty.tier_entry, loyalty.tier_step, analytics.tier_history TO analyst;
