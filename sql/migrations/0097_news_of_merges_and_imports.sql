-- The feed tells tiers that a merge changes, and opening balances by their name; a file of
-- referrals is one entry of the audit log.

CREATE OR REPLACE FUNCTION loyalty.note_adjustments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', coalesce(o.owner_id, p.member_id), jsonb_build_object(
        'points', p.points, 'entries', 1, 'reasons', jsonb_build_array(
            CASE WHEN p.voids_id IS NULL THEN p.kind ELSE p.kind || ' void' END))
    FROM posted p LEFT JOIN loyalty.merged_member o USING (member_id) ORDER BY p.adjustment_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_adjustments IS
    'Notes points given or taken by hand, or brought along from an earlier program, for the member '
    'whose balance they move.';

CREATE OR REPLACE FUNCTION loyalty.note_merge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Balances move without an entry (adjustments follow the member), also of whoever earned for
    -- the member before.
    touched bigint[] := ARRAY(
        SELECT NEW.member_id UNION SELECT NEW.into_id
        UNION SELECT into_id FROM loyalty.member_merge WHERE member_id = NEW.member_id
        UNION SELECT o.owner_id FROM loyalty.merged_member o
        WHERE o.member_id IN (
            SELECT into_id FROM loyalty.member_merge WHERE member_id = NEW.member_id)
        ORDER BY 1);
BEGIN
    PERFORM loyalty.note_change(
        CASE WHEN NEW.into_id = NEW.member_id THEN 'member.unmerged' ELSE 'member.merged' END, m,
        jsonb_build_object('merged_member_id', NEW.member_id, 'into_member_id', NEW.into_id))
    FROM unnest(touched) AS m;
    -- Tiers that were set follow the member too: now, and where one of the future begins.
    PERFORM loyalty.note_change('tier.changed', t.m, '{}', t.at)
    FROM (
        SELECT m, now() AS at FROM unnest(touched) AS m
        UNION SELECT s.member_id, s.valid_from FROM loyalty.tier_set s
        WHERE s.member_id = ANY(touched) AND s.valid_from > now()
    ) t ORDER BY t.m, t.at;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_merge IS
    'Notes a merge, or its undoing, for everybody whose balance or tier it can change.';

CREATE OR REPLACE FUNCTION audit.on_referral() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    many bigint;
    last loyalty.referral;
BEGIN
    SELECT count(*) INTO many FROM changed;
    IF many > 1 THEN
        PERFORM audit.record('referral', 'success', 'members', '{}', of_records => many,
            of_run_id => (SELECT min(run_id) FROM changed));
    ELSIF many = 1 THEN
        SELECT * INTO last FROM changed;
        PERFORM audit.record(
            CASE WHEN last.referrer_id IS NULL THEN 'referral.withdraw' ELSE 'referral' END,
            'success', 'member ' || last.friend_id,
            jsonb_build_object('referral_no', last.referral_no, 'referrer', last.referrer_id,
                'author', last.recorded_by),
            of_records => 1, of_run_id => last.run_id);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_referral() IS
    'Records referrals, also corrected and withdrawn ones; many at once in one entry.';
DROP TRIGGER referral_audited ON loyalty.referral;
CREATE TRIGGER referral_audited AFTER INSERT ON loyalty.referral
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.on_referral();
