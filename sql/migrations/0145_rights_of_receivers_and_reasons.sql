-- Who signs for the loyalty app is the worker: the API and the panel read no secret, not even an
-- encrypted one. The panel counts those in force.
REVOKE SELECT ON loyalty.receiver_secret FROM twezah_api, twezah_panel;
GRANT SELECT (secret_no, receiver_no, created_at, expires_at) ON loyalty.receiver_secret
    TO twezah_panel;

-- Why a tier or a referral was entered is a text that somebody typed, as other reasons are.
REVOKE SELECT (reason) ON loyalty.member_tier, loyalty.referral FROM analyst;
COMMENT ON COLUMN loyalty.member_tier.reason IS
    'Why. No names and no phone numbers. Null: entered without one.';
COMMENT ON COLUMN loyalty.referral.reason IS
    'Why. No names and no phone numbers. Null: entered without one.';

-- The entry of a tier says which it was, and the run or request that entered it.
CREATE OR REPLACE FUNCTION audit.on_tiers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE many bigint; one bigint; run text; given jsonb; tier_nos jsonb;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id), min(run_id), jsonb_agg(DISTINCT tier),
           CASE WHEN count(*) = 1 THEN jsonb_build_object('tier_no', min(tier_no)) ELSE '{}' END
    INTO many, one, run, given, tier_nos FROM changed;
    IF many > 0 THEN
        PERFORM audit.record('tiers', 'success',
            CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END,
            jsonb_build_object('tiers', given) || tier_nos, of_records => many, of_run_id => run);
    END IF;
    RETURN NULL;
END $$;
