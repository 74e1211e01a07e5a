-- Balances that members bring from the program they had before are entries of their own kind beside
-- adjustments by hand: explained, exported, expiring by their own date, and taken back by a void.
ALTER TABLE loyalty.adjustment
    ADD COLUMN kind text NOT NULL DEFAULT 'adjustment'
        CHECK (kind IN ('adjustment', 'opening balance'));
COMMENT ON COLUMN loyalty.adjustment.kind IS
    'adjustment: decided by hand; opening balance: points of an earlier program, imported. A void '
    'has the kind of what it takes back.';
CREATE INDEX adjustment_opening ON loyalty.adjustment (member_id, event_at)
    WHERE kind = 'opening balance';

CREATE OR REPLACE FUNCTION loyalty.check_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE voided loyalty.adjustment;
BEGIN
    IF NEW.voids_id IS NOT NULL THEN
        SELECT * INTO voided FROM loyalty.adjustment a WHERE a.adjustment_id = NEW.voids_id;
        IF voided.voids_id IS NOT NULL
            OR (voided.member_id, -voided.points) <> (NEW.member_id, NEW.points)
        THEN
            RAISE EXCEPTION 'row % is no adjustment of member % by % points',
                NEW.voids_id, NEW.member_id, -NEW.points USING ERRCODE = 'check_violation';
        END IF;
        NEW.kind := voided.kind;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.check_adjustment() IS
    'Refuses a void that is not exactly minus its adjustment, and gives it the same kind.';

-- An import is one entry of the audit log, not one for each member.
DROP TRIGGER adjustment_audited ON loyalty.adjustment;
CREATE TRIGGER adjustment_audited AFTER INSERT ON loyalty.adjustment FOR EACH ROW
    WHEN (NEW.kind = 'adjustment' OR NEW.voids_id IS NOT NULL)
    EXECUTE FUNCTION audit.on_adjustment();

CREATE OR REPLACE VIEW analytics.adjustment AS
SELECT a.adjustment_id, coalesce(o.owner_id, a.member_id) AS member_id, a.points, a.voids_id,
       EXISTS (SELECT FROM loyalty.adjustment v WHERE v.voids_id = a.adjustment_id) AS voided,
       a.reason, a.event_at, a.posted_at, a.run_id, a.kind
FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o USING (member_id);
COMMENT ON VIEW analytics.adjustment IS 'One row per adjustment by hand or opening balance.';
COMMENT ON COLUMN analytics.adjustment.kind IS
    'adjustment, or opening balance: points of an earlier program.';

-- Only how an adjustment is called changes; whatever else the view unites stays as it is.
DO $$
DECLARE
    before text := pg_get_viewdef('analytics.points_history');
    after text := replace(replace(before, '''adjustment''::text', 'a.kind'),
                          '''adjustment void''::text', '(a.kind || '' void''::text)');
BEGIN
    ASSERT after LIKE '%(a.kind || '' void''::text)%', 'analytics.points_history has another form';
    EXECUTE 'CREATE OR REPLACE VIEW analytics.points_history AS ' || after;
    EXECUTE format('COMMENT ON COLUMN analytics.points_history.kind IS %L',
        col_description('analytics.points_history'::regclass, 4)
        || ' Imported points of an earlier program: opening balance, or opening balance void.');
END $$;

-- The program decides which tiers there are.
ALTER TABLE loyalty.member_tier
    DROP CONSTRAINT IF EXISTS member_tier_tier_check,
    ADD CONSTRAINT member_tier_tier_check CHECK (tier ~ '^[a-z][a-z0-9_]{0,31}$');
COMMENT ON COLUMN loyalty.member_tier.tier IS 'A tier of the program.';
