-- Members, tiers and referrals that the loyalty app or an operator enters, ends and corrects.

-- A new member has one from the start; those that are here get theirs now.
ALTER TABLE loyalty.member ADD COLUMN public_id uuid UNIQUE DEFAULT gen_random_uuid();
COMMENT ON COLUMN loyalty.member.public_id IS
    'Random id of the member for the app and for links: it says nothing and cannot be guessed. '
    'Null once erased.';

-- Tiers: a row without a tier ends the one before it.
ALTER TABLE loyalty.member_tier
    ALTER COLUMN tier DROP NOT NULL,
    ADD COLUMN reason text CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    ADD COLUMN run_id text;
COMMENT ON COLUMN loyalty.member_tier.tier IS
    'lead, silver, gold or platinum; null: from then on no tier is set, so the program''s entry '
    'tier counts, or the one that it evaluates.';
COMMENT ON COLUMN loyalty.member_tier.reason IS
    'Why. No names and no phone numbers: analysts read it. Null: entered without one.';
COMMENT ON COLUMN loyalty.member_tier.run_id IS
    'Prefect flow run, command or request of the API that entered it; null: a database user.';

ALTER TABLE loyalty.member_merge ADD COLUMN tiers text NOT NULL DEFAULT 'into'
    CHECK (tiers IN ('better', 'into'));
ALTER TABLE loyalty.member_merge ALTER COLUMN tiers SET DEFAULT 'better';
COMMENT ON COLUMN loyalty.member_merge.tiers IS
    'Tiers that were set: better: of both the better one at each instant; into: those of into_id '
    'alone.';
COMMENT ON COLUMN loyalty.member_merge.into_id IS
    'Member who has them now; its phone counts, its tiers as `tiers` says, and of two referrals '
    'the earlier one.';

CREATE VIEW loyalty.tier_source AS
WITH RECURSIVE link AS (
    SELECT DISTINCT ON (member_id) member_id, into_id, tiers
    FROM loyalty.member_merge ORDER BY member_id, merge_no DESC
), path (member_id, into_id) AS (
    SELECT member_id, into_id FROM link WHERE into_id <> member_id AND tiers = 'better'
    UNION
    SELECT p.member_id, l.into_id FROM path p JOIN link l ON l.member_id = p.into_id
    WHERE l.into_id <> l.member_id AND l.tiers = 'better'
)
SELECT into_id AS member_id, member_id AS source_id FROM path p
WHERE NOT EXISTS (
    SELECT FROM link l WHERE l.member_id = p.into_id AND l.into_id <> l.member_id);
COMMENT ON VIEW loyalty.tier_source IS
    'Merged members whose tiers count for the member they were merged into.';
COMMENT ON COLUMN loyalty.tier_source.member_id IS 'Member who earns.';
COMMENT ON COLUMN loyalty.tier_source.source_id IS 'Member who was merged into them.';

CREATE FUNCTION loyalty.tier_rank(of_tier text, at timestamptz) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT (p.tier_rate_bps ->> coalesce(of_tier, p.entry_tier))::bigint
        FROM loyalty.program p WHERE p.valid_from <= at ORDER BY p.valid_from DESC LIMIT 1), -1)
$$;
COMMENT ON FUNCTION loyalty.tier_rank(text, timestamptz) IS
    'How good a tier was at an instant: its multiplier in basis points; -1: the program had none '
    'such.';

CREATE FUNCTION loyalty.entry_tier_at(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT p.entry_tier FROM loyalty.program p
    WHERE p.valid_from <= at ORDER BY p.valid_from DESC LIMIT 1
$$;
COMMENT ON FUNCTION loyalty.entry_tier_at(timestamptz) IS
    'The tier of members who have none, by the program of that instant.';

-- What points are computed with: the last row entered for each instant, and after a merge the
-- better one of both.
CREATE VIEW loyalty.tier_set AS
SELECT member_id, valid_from, coalesce(tier, loyalty.entry_tier_at(valid_from)) AS tier
FROM (
    SELECT DISTINCT ON (t.member_id, t.valid_from) t.member_id, t.valid_from, t.tier
    FROM loyalty.member_tier t ORDER BY t.member_id, t.valid_from, t.tier_no DESC
) entered
-- (Asked by index first: most members were never merged, and need no walk through the merges.)
WHERE NOT EXISTS (
    SELECT FROM loyalty.member_merge g WHERE g.into_id = entered.member_id
      AND g.member_id <> g.into_id AND g.tiers = 'better')
UNION ALL
SELECT w.member_id, w.valid_from, best.tier
FROM (
    SELECT DISTINCT o.member_id, t.valid_from
    FROM (
        SELECT DISTINCT g.into_id AS member_id FROM loyalty.member_merge g
        WHERE g.member_id <> g.into_id AND g.tiers = 'better'
    ) o
    CROSS JOIN LATERAL (
        SELECT o.member_id AS source_id
        UNION ALL SELECT s.source_id FROM loyalty.tier_source s WHERE s.member_id = o.member_id
    ) who
    JOIN loyalty.member_tier t ON t.member_id = who.source_id
) w
CROSS JOIN LATERAL (
    SELECT coalesce(latest.tier, loyalty.entry_tier_at(w.valid_from)) AS tier
    FROM (
        SELECT w.member_id AS source_id
        UNION ALL SELECT s.source_id FROM loyalty.tier_source s WHERE s.member_id = w.member_id
    ) who
    CROSS JOIN LATERAL (
        SELECT t.tier FROM loyalty.member_tier t
        WHERE t.member_id = who.source_id AND t.valid_from <= w.valid_from
        ORDER BY t.valid_from DESC, t.tier_no DESC LIMIT 1
    ) latest
    ORDER BY loyalty.tier_rank(latest.tier, w.valid_from) DESC, latest.tier NULLS LAST LIMIT 1
) best;
COMMENT ON VIEW loyalty.tier_set IS
    'Tiers that were set, as they count: the last row for an instant, merges followed.';
COMMENT ON COLUMN loyalty.tier_set.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.tier_set.valid_from IS 'Sales from this instant on use this tier.';
COMMENT ON COLUMN loyalty.tier_set.tier IS 'The tier; where one ended, the entry tier.';

CREATE OR REPLACE VIEW loyalty.tier_step AS
SELECT member_id, valid_from, tier FROM (
    SELECT DISTINCT ON (member_id, valid_from) member_id, valid_from, tier FROM loyalty.tier_entry
    ORDER BY member_id, valid_from, entry_no DESC
) last
WHERE tier IS NOT NULL
UNION ALL
-- Where nothing was evaluated, what was set.
SELECT s.member_id, s.valid_from, s.tier FROM loyalty.tier_set s
WHERE NOT EXISTS (SELECT FROM loyalty.tier_entry e WHERE e.member_id = s.member_id);

-- Referrals: the last row of a friend counts, so that one can be corrected and withdrawn.
ALTER TABLE loyalty.referral DROP CONSTRAINT referral_pkey;
ALTER TABLE loyalty.referral
    ADD COLUMN referral_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ALTER COLUMN referrer_id DROP NOT NULL,
    ADD COLUMN reason text CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    ADD COLUMN run_id text;
CREATE INDEX referral_friend ON loyalty.referral (friend_id, referral_no);
COMMENT ON TABLE loyalty.referral IS
    'Who brought whom: one referrer per friend. To correct or withdraw one, enter another row: '
    'the last row of a friend counts.';
COMMENT ON COLUMN loyalty.referral.referral_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.referral.referrer_id IS
    'Member who referred them; null: nobody did after all.';
COMMENT ON COLUMN loyalty.referral.reason IS
    'Why. No names and no phone numbers: analysts read it. Null: entered without one.';
COMMENT ON COLUMN loyalty.referral.run_id IS
    'Prefect flow run, command or request of the API that entered it; null: a database user.';

-- Of two referrals of one customer the earlier counts; who was merged with their own referrer was
-- never referred.
CREATE VIEW loyalty.referral_between AS
SELECT friend_id, referrer_id, referred_at
FROM (
    SELECT DISTINCT ON (coalesce(f.owner_id, r.friend_id))
           coalesce(f.owner_id, r.friend_id) AS friend_id,
           coalesce(o.owner_id, r.referrer_id) AS referrer_id, r.referred_at
    FROM (
        SELECT DISTINCT ON (friend_id) friend_id, referrer_id, referred_at
        FROM loyalty.referral ORDER BY friend_id, referral_no DESC
    ) r
    LEFT JOIN loyalty.merged_member f ON f.member_id = r.friend_id
    LEFT JOIN loyalty.merged_member o ON o.member_id = r.referrer_id
    WHERE r.referrer_id IS NOT NULL
    ORDER BY coalesce(f.owner_id, r.friend_id), r.referred_at, r.friend_id
) resolved
WHERE friend_id <> referrer_id;
COMMENT ON VIEW loyalty.referral_between IS
    'Referrals between the members that earn, merges followed; also those that close a circle.';
COMMENT ON COLUMN loyalty.referral_between.friend_id IS 'Member who was referred.';
COMMENT ON COLUMN loyalty.referral_between.referrer_id IS 'Member who referred them.';
COMMENT ON COLUMN loyalty.referral_between.referred_at IS 'When.';

CREATE VIEW loyalty.referral_circle AS
WITH RECURSIVE between_them AS MATERIALIZED (
    SELECT friend_id, referrer_id FROM loyalty.referral_between
), step (friend_id, referrer_id) AS (
    -- Nobody is on a circle who brought nobody, or whose referrer nobody brought.
    SELECT b.friend_id, b.referrer_id FROM between_them b
    WHERE EXISTS (SELECT FROM between_them f WHERE f.referrer_id = b.friend_id)
      AND EXISTS (SELECT FROM between_them r WHERE r.friend_id = b.referrer_id)
    UNION
    SELECT s.friend_id, b.referrer_id FROM step s
    JOIN between_them b ON b.friend_id = s.referrer_id WHERE s.referrer_id <> s.friend_id
)
SELECT friend_id FROM step WHERE referrer_id = friend_id;
COMMENT ON VIEW loyalty.referral_circle IS
    'Friends who brought, over any number of others, their own referrer: nobody did then.';
COMMENT ON COLUMN loyalty.referral_circle.friend_id IS 'Member who was referred.';

CREATE OR REPLACE VIEW loyalty.referral_owned AS
SELECT b.friend_id, b.referrer_id, b.referred_at FROM loyalty.referral_between b
WHERE NOT EXISTS (SELECT FROM loyalty.referral_circle c WHERE c.friend_id = b.friend_id);
COMMENT ON VIEW loyalty.referral_owned IS
    'Referrals that count, between the members that earn: merges are followed, and circles left '
    'out.';

CREATE VIEW analytics.referral AS
SELECT b.friend_id, b.referrer_id, b.referred_at,
       EXISTS (SELECT FROM loyalty.referral_circle c WHERE c.friend_id = b.friend_id) AS in_circle
FROM loyalty.referral_between b;
COMMENT ON VIEW analytics.referral IS
    'One row per member who was referred, as it counts now; merges are followed.';
COMMENT ON COLUMN analytics.referral.friend_id IS 'Member who was referred (pseudonymous).';
COMMENT ON COLUMN analytics.referral.referrer_id IS 'Member who referred them (pseudonymous).';
COMMENT ON COLUMN analytics.referral.referred_at IS 'When: sales of the friend from then on count.';
COMMENT ON COLUMN analytics.referral.in_circle IS
    'Whether the friend referred the referrer, directly or over others: then it gives nothing.';

-- Everybody whose rewards may change with a referral of these members: they, whoever ever referred
-- them, whoever referred those, and so on. A circle is closed or opened anywhere on it.
CREATE FUNCTION loyalty.referral_line(members bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE owned AS MATERIALIZED (
        SELECT member_id, owner_id FROM loyalty.merged_member
    ), entered AS MATERIALIZED (
        SELECT DISTINCT coalesce(f.owner_id, r.friend_id) AS friend_id,
               coalesce(o.owner_id, r.referrer_id) AS referrer_id
        FROM loyalty.referral r
        LEFT JOIN owned f ON f.member_id = r.friend_id
        LEFT JOIN owned o ON o.member_id = r.referrer_id
        WHERE r.referrer_id IS NOT NULL
    ), line (member_id) AS (
        SELECT m FROM unnest(members) AS m WHERE m IS NOT NULL
        UNION SELECT o.owner_id FROM owned o WHERE o.member_id = ANY(members)
        UNION SELECT e.referrer_id FROM line l JOIN entered e ON e.friend_id = l.member_id
    )
    SELECT member_id FROM line
$$;
COMMENT ON FUNCTION loyalty.referral_line(bigint[]) IS
    'The members, and everybody above them in the referrals that were ever entered.';

CREATE OR REPLACE FUNCTION loyalty.mark_referrers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT loyalty.referral_line(ARRAY(
        SELECT friend_id FROM changed UNION SELECT referrer_id FROM changed))));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_referrers() IS
    'Marks all whose rewards may change with a referral, for the next award step.';

CREATE OR REPLACE FUNCTION loyalty.mark_former_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT loyalty.referral_line(ARRAY(
        SELECT m.into_id FROM loyalty.member_merge m
        WHERE m.member_id IN (SELECT member_id FROM changed)
        UNION SELECT member_id FROM changed))));
    RETURN NULL;
END $$;

-- A tier may be a condition of a reward, and counts for whoever the member was merged into.
CREATE OR REPLACE FUNCTION loyalty.mark_tier_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $$;

-- The audit log knows the run, and referrals.
CREATE OR REPLACE FUNCTION audit.on_tiers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE many bigint; one bigint; run text; tier_nos jsonb;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id), min(run_id),
           CASE WHEN count(*) = 1 THEN jsonb_build_object('tier_no', min(tier_no)) ELSE '{}' END
    INTO many, one, run, tier_nos FROM changed;
    IF many > 0 THEN
        PERFORM audit.record(
            'tiers', 'success', CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END,
            tier_nos, of_records => many, of_run_id => run);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION audit.on_referral() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(
        CASE WHEN NEW.referrer_id IS NULL THEN 'referral.withdraw' ELSE 'referral' END, 'success',
        'member ' || NEW.friend_id,
        jsonb_build_object('referral_no', NEW.referral_no, 'referrer', NEW.referrer_id,
            'author', NEW.recorded_by),
        of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_referral() IS 'Records referrals, also corrected and withdrawn ones.';
CREATE TRIGGER referral_audited AFTER INSERT ON loyalty.referral
    FOR EACH ROW EXECUTE FUNCTION audit.on_referral();

GRANT SELECT ON loyalty.tier_source, loyalty.tier_set, loyalty.referral_between,
    loyalty.referral_circle, analytics.referral TO analyst;
