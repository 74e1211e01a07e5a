-- The rules of the points program as data: options of a version, kinds of promotion, referrals, merged members.
ALTER TABLE loyalty.program
    ADD COLUMN award_when    text NOT NULL DEFAULT 'issued' CHECK (award_when IN ('issued', 'paid')),
    ADD COLUMN timezone      text NOT NULL DEFAULT 'Africa/Luanda',
    ADD COLUMN base_currency text COLLATE "C" CHECK (base_rate_bps ? base_currency),
    ADD COLUMN categories    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(categories) = 'object'),
    ADD COLUMN unlinked_credits text NOT NULL DEFAULT 'own_date' CHECK (unlinked_credits IN ('own_date', 'latest_sales')),
    ADD COLUMN tier_policy   jsonb CHECK (jsonb_typeof(tier_policy) = 'object'),
    ADD COLUMN expiry        jsonb CHECK (jsonb_typeof(expiry) = 'object');
-- A version may correct an earlier one for the same time: the highest that has begun speaks.
ALTER TABLE loyalty.program DROP CONSTRAINT program_valid_from_key;
COMMENT ON TABLE loyalty.program IS 'The points program, versioned: the highest version that has begun speaks; it replaces all earlier ones from its valid_from on.';
COMMENT ON COLUMN loyalty.program.award_when IS 'issued: open and paid documents earn; paid: paid ones only. Either way by the document''s own date.';
COMMENT ON COLUMN loyalty.program.timezone IS 'IANA time zone of days, hours and calendar periods.';
COMMENT ON COLUMN loyalty.program.base_currency IS 'Sales in a currency without a rate are converted to this one at the rate of their date; null: they are rejected.';
COMMENT ON COLUMN loyalty.program.categories IS 'Product categories: name to a list of SKU patterns (* and ?).';
COMMENT ON COLUMN loyalty.program.unlinked_credits IS 'A credit document that names no invoice counts at its own date (own_date), or lowers the customer''s latest sales (latest_sales).';
COMMENT ON COLUMN loyalty.program.tier_policy IS 'How tiers are evaluated: metric, currency, window_days, thresholds, period, grace_days; null: the loyalty app sets them.';
COMMENT ON COLUMN loyalty.program.expiry IS 'When points expire: months, end_of; null: never.';

ALTER TABLE loyalty.promotion DROP CONSTRAINT promotion_kind_check;
ALTER TABLE loyalty.promotion ADD CONSTRAINT promotion_kind_check
    CHECK (kind IN ('product_bonus', 'seasonal_multiplier', 'purchase_bonus', 'referral_reward'));
COMMENT ON TABLE loyalty.promotion IS 'Promotions: the kind of rule is code, its parameters are here, valid in [valid_from, valid_to). The highest version that has begun speaks.';
COMMENT ON COLUMN loyalty.promotion.parameters IS 'Parameters of the rule, conditions (when), stacking and limits; see docs/points-rules.md.';
CREATE TRIGGER promotion_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.promotion
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

ALTER TABLE loyalty.member ADD COLUMN timezone text CHECK (timezone ~ '^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$');
COMMENT ON COLUMN loyalty.member.timezone IS 'IANA time zone of the customer, for promotions that look at their clock; null: the program''s.';

CREATE TABLE loyalty.referral (
    friend_id    bigint PRIMARY KEY REFERENCES loyalty.member,
    referrer_id  bigint NOT NULL REFERENCES loyalty.member,
    referred_at  timestamptz NOT NULL CHECK (isfinite(referred_at)),
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    recorded_by  text NOT NULL DEFAULT current_user,
    CONSTRAINT no_self_referral CHECK (friend_id <> referrer_id)
);
CREATE INDEX referral_referrer ON loyalty.referral (referrer_id);
COMMENT ON TABLE loyalty.referral IS 'Who brought whom, as the loyalty app tells: one referrer per friend, for ever.';
COMMENT ON COLUMN loyalty.referral.friend_id IS 'Member who was referred.';
COMMENT ON COLUMN loyalty.referral.referrer_id IS 'Member who referred them.';
COMMENT ON COLUMN loyalty.referral.referred_at IS 'When: sales of the friend from then on count.';
COMMENT ON COLUMN loyalty.referral.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.referral.recorded_by IS 'Who entered it.';
CREATE TRIGGER referral_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.referral
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE TABLE loyalty.member_merge (
    merge_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id    bigint NOT NULL REFERENCES loyalty.member,
    into_id      bigint NOT NULL REFERENCES loyalty.member,
    reason       text NOT NULL CHECK (reason <> ''),
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    recorded_by  text NOT NULL DEFAULT current_user
);
CREATE INDEX member_merge_member ON loyalty.member_merge (member_id, merge_no);
CREATE INDEX member_merge_into ON loyalty.member_merge (into_id);
COMMENT ON TABLE loyalty.member_merge IS 'Members that are one customer: the sales of member_id count for into_id. The last row of a member counts; into itself undoes.';
COMMENT ON COLUMN loyalty.member_merge.merge_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.member_merge.member_id IS 'Member whose sales go over.';
COMMENT ON COLUMN loyalty.member_merge.into_id IS 'Member who has them now; its own phone, tiers and referrals count.';
COMMENT ON COLUMN loyalty.member_merge.reason IS 'Why: a second account, a new phone.';
COMMENT ON COLUMN loyalty.member_merge.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.member_merge.recorded_by IS 'Who entered it.';
CREATE TRIGGER member_merge_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.member_merge
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE VIEW loyalty.merged_member AS
WITH RECURSIVE link AS (
    SELECT DISTINCT ON (member_id) member_id, into_id FROM loyalty.member_merge ORDER BY member_id, merge_no DESC
), path (member_id, into_id) AS (
    SELECT member_id, into_id FROM link WHERE into_id <> member_id
    UNION
    SELECT p.member_id, l.into_id FROM path p JOIN link l ON l.member_id = p.into_id WHERE l.into_id <> l.member_id
)
SELECT member_id, into_id AS owner_id FROM path p
WHERE NOT EXISTS (SELECT FROM link l WHERE l.member_id = p.into_id AND l.into_id <> l.member_id);
COMMENT ON VIEW loyalty.merged_member IS 'Members that were merged into another, and who has their sales in the end.';
COMMENT ON COLUMN loyalty.merged_member.member_id IS 'Member that was merged away.';
COMMENT ON COLUMN loyalty.merged_member.owner_id IS 'Member who has the sales.';

-- A circle would have no owner. What this statement enters is visible to it.
CREATE FUNCTION loyalty.check_merge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One at a time: two merges that do not see each other could close a circle.
    PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.member_merge', 3));
    IF EXISTS (
        SELECT FROM changed c WHERE c.into_id <> c.member_id
        AND NOT EXISTS (SELECT FROM loyalty.merged_member m WHERE m.member_id = c.member_id)
    ) THEN
        RAISE EXCEPTION 'these members would be merged in a circle: merge into the one that is kept' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM (
        SELECT member_id FROM changed UNION SELECT into_id FROM changed
        UNION SELECT owner_id FROM loyalty.merged_member WHERE member_id IN (SELECT member_id FROM changed)
        UNION SELECT member_id FROM loyalty.member_merge WHERE into_id IN (SELECT member_id FROM changed)
    ) AS touched(m) ORDER BY m
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.check_merge() IS 'Refuses circles, and marks the members concerned for the next award step.';
CREATE TRIGGER member_merge_checked AFTER INSERT ON loyalty.member_merge
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.check_merge();

-- Of two referrals of one customer the earlier counts; who was merged with their own referrer was never referred.
CREATE VIEW loyalty.referral_owned AS
SELECT friend_id, referrer_id, referred_at
FROM (
    SELECT DISTINCT ON (coalesce(f.owner_id, r.friend_id))
           coalesce(f.owner_id, r.friend_id) AS friend_id, coalesce(o.owner_id, r.referrer_id) AS referrer_id, r.referred_at
    FROM loyalty.referral r
    LEFT JOIN loyalty.merged_member f ON f.member_id = r.friend_id
    LEFT JOIN loyalty.merged_member o ON o.member_id = r.referrer_id
    ORDER BY coalesce(f.owner_id, r.friend_id), r.referred_at, r.friend_id
) resolved
WHERE friend_id <> referrer_id;
COMMENT ON VIEW loyalty.referral_owned IS 'Referrals between the members that earn: merges are followed.';
COMMENT ON COLUMN loyalty.referral_owned.friend_id IS 'Member who was referred.';
COMMENT ON COLUMN loyalty.referral_owned.referrer_id IS 'Member who referred them.';
COMMENT ON COLUMN loyalty.referral_owned.referred_at IS 'When.';

-- A referral concerns both: the friend's sales are worth points to the referrer as well.
CREATE FUNCTION loyalty.mark_referrers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM (
        SELECT friend_id FROM changed UNION SELECT referrer_id FROM changed
        UNION SELECT owner_id FROM loyalty.merged_member
        WHERE member_id IN (SELECT friend_id FROM changed UNION SELECT referrer_id FROM changed)
    ) AS touched(m) ORDER BY m
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_referrers() IS 'Marks both members of a new referral for the next award step.';
CREATE TRIGGER referral_marks AFTER INSERT ON loyalty.referral
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_referrers();

CREATE OR REPLACE FUNCTION loyalty.mark_tier_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM (
        SELECT member_id FROM changed
        UNION SELECT r.referrer_id FROM loyalty.referral r JOIN changed c ON c.member_id = r.friend_id
    ) AS touched(m) ORDER BY m
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $$;

CREATE FUNCTION loyalty.mark_timezone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.member_dirty (member_id) VALUES (NEW.member_id)
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_timezone() IS 'Marks a member whose time zone changed, for the next award step.';
CREATE TRIGGER member_timezone_marks AFTER UPDATE OF timezone ON loyalty.member
    FOR EACH ROW WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone) EXECUTE FUNCTION loyalty.mark_timezone();

GRANT SELECT ON loyalty.referral, loyalty.referral_owned, loyalty.member_merge, loyalty.merged_member TO analyst;
