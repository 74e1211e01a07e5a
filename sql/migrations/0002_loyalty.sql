-- The loyalty ledger: members, tiers, the program's versions, and the append-only award entries.
CREATE SCHEMA IF NOT EXISTS loyalty;
COMMENT ON SCHEMA loyalty IS 'Members, tiers, the points program and the append-only ledger of awards.';

CREATE TABLE loyalty.member (
    member_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phone       text COLLATE "C" UNIQUE CHECK (phone ~ '^\+[1-9][0-9]{7,14}$'),
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE loyalty.member IS 'A customer of the loyalty app, found by phone. The ledger refers to the number only, so the phone can be erased and the sums stay.';
COMMENT ON COLUMN loyalty.member.member_id IS 'Pseudonymous number used everywhere else.';
COMMENT ON COLUMN loyalty.member.phone IS 'Personal data. E.164; null once erased.';
COMMENT ON COLUMN loyalty.member.created_at IS 'When the first sale or the loyalty app made the member.';

CREATE TABLE loyalty.program (
    version      integer PRIMARY KEY CHECK (version >= 1),
    valid_from   timestamptz NOT NULL UNIQUE CHECK (valid_from < 'infinity'),
    base_rate_bps jsonb NOT NULL CHECK (jsonb_typeof(base_rate_bps) = 'object'),
    tier_rate_bps jsonb NOT NULL CHECK (jsonb_typeof(tier_rate_bps) = 'object'),
    entry_tier   text NOT NULL CHECK (tier_rate_bps ? entry_tier),
    rounding     text NOT NULL DEFAULT 'down' CHECK (rounding IN ('down', 'half_up', 'up')),
    basis        text NOT NULL DEFAULT 'total' CHECK (basis IN ('total', 'subtotal')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL DEFAULT current_user
);
COMMENT ON TABLE loyalty.program IS 'The points program, versioned: a version is in force from valid_from until the next one''s valid_from.';
COMMENT ON COLUMN loyalty.program.version IS 'Version number, named by every award.';
COMMENT ON COLUMN loyalty.program.valid_from IS 'Sales issued from this instant on follow this version.';
COMMENT ON COLUMN loyalty.program.base_rate_bps IS 'Per currency (ISO 4217): points per whole currency unit, in basis points; 100000 = 10 points. A currency not named here is rejected.';
COMMENT ON COLUMN loyalty.program.tier_rate_bps IS 'Per tier: multiplier in basis points; 12000 = 1.2x. A tier not named here is refused.';
COMMENT ON COLUMN loyalty.program.entry_tier IS 'Tier of a member who has none recorded yet.';
COMMENT ON COLUMN loyalty.program.rounding IS 'How fractions of a point are rounded, once per invoice, on the magnitude.';
COMMENT ON COLUMN loyalty.program.basis IS 'Amount that earns: the invoice total, or the subtotal without tax.';
COMMENT ON COLUMN loyalty.program.created_at IS 'When the version was entered.';
COMMENT ON COLUMN loyalty.program.created_by IS 'Who entered it.';

CREATE TABLE loyalty.member_tier (
    tier_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id   bigint NOT NULL REFERENCES loyalty.member,
    tier        text NOT NULL CHECK (tier IN ('lead', 'silver', 'gold', 'platinum')),
    valid_from  timestamptz NOT NULL CHECK (isfinite(valid_from)),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL DEFAULT current_user
);
CREATE INDEX member_tier_history ON loyalty.member_tier (member_id, valid_from, tier_no);
COMMENT ON TABLE loyalty.member_tier IS 'Tier history: a tier is in force from valid_from until the member''s next row. To correct one, enter another for the same instant: the last entered counts.';
COMMENT ON COLUMN loyalty.member_tier.tier_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.member_tier.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.member_tier.tier IS 'lead, silver, gold or platinum.';
COMMENT ON COLUMN loyalty.member_tier.valid_from IS 'Sales issued from this instant on use this tier.';
COMMENT ON COLUMN loyalty.member_tier.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.member_tier.recorded_by IS 'Who entered it.';

CREATE TABLE loyalty.promotion (
    promotion_id text COLLATE "C" NOT NULL,
    version      integer NOT NULL CHECK (version >= 1),
    kind         text NOT NULL CHECK (kind IN ('product_bonus', 'seasonal_multiplier', 'referral_reward')),
    parameters   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'),
    valid_from   timestamptz NOT NULL,
    valid_to     timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL DEFAULT current_user,
    PRIMARY KEY (promotion_id, version),
    CHECK (valid_to IS NULL OR valid_from < valid_to)
);
COMMENT ON TABLE loyalty.promotion IS 'Promotions: the kind of rule is code, its parameters are here, versioned, valid in [valid_from, valid_to). None is evaluated yet.';
COMMENT ON COLUMN loyalty.promotion.promotion_id IS 'Name of the promotion.';
COMMENT ON COLUMN loyalty.promotion.version IS 'Version of its parameters.';
COMMENT ON COLUMN loyalty.promotion.kind IS 'Which rule evaluates it.';
COMMENT ON COLUMN loyalty.promotion.parameters IS 'Parameters of the rule.';
COMMENT ON COLUMN loyalty.promotion.valid_from IS 'First instant of validity.';
COMMENT ON COLUMN loyalty.promotion.valid_to IS 'First instant after validity; null: open.';
COMMENT ON COLUMN loyalty.promotion.created_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.promotion.created_by IS 'Who entered it.';

CREATE TABLE loyalty.member_dirty (
    member_id  bigint PRIMARY KEY REFERENCES loyalty.member,
    marks      bigint NOT NULL DEFAULT 1,
    marked_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE loyalty.member_dirty IS 'Members whose stored history changed and whose points are still to be recomputed: the work list of the award step.';
COMMENT ON COLUMN loyalty.member_dirty.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.member_dirty.marks IS 'How many changes asked for it. The row is updated on every mark, so that marking waits for an award in progress.';
COMMENT ON COLUMN loyalty.member_dirty.marked_at IS 'When the first change asked for it.';

CREATE TABLE loyalty.award_entry (
    system       text COLLATE "C" NOT NULL,
    account      text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    member_id    bigint NOT NULL,
    entry_no     integer NOT NULL CHECK (entry_no >= 1),
    due_before   bigint NOT NULL,
    due_after    bigint NOT NULL,
    points       bigint NOT NULL,
    reason       text NOT NULL CHECK (reason IN ('award', 'edit', 'refund', 'void', 'moved')),
    breakdown    jsonb NOT NULL,
    net_minor    bigint NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    tier         text NOT NULL,
    program_version integer NOT NULL,
    event_at     timestamptz NOT NULL,
    posted_at    timestamptz NOT NULL DEFAULT now(),
    run_id       text NOT NULL,
    PRIMARY KEY (external_id, member_id, entry_no, account, system),
    CONSTRAINT points_is_the_difference CHECK (points = due_after - due_before),
    CONSTRAINT no_empty_entry CHECK (points <> 0),
    CONSTRAINT chain_starts_at_zero CHECK (entry_no > 1 OR due_before = 0)
);
CREATE INDEX award_entry_member ON loyalty.award_entry (member_id, event_at);
COMMENT ON TABLE loyalty.award_entry IS 'The ledger: append-only. One chain of entries per sale and member; each entry posts the difference between what is due now and what was posted.';
COMMENT ON COLUMN loyalty.award_entry.system IS 'Billing system of the sale.';
COMMENT ON COLUMN loyalty.award_entry.account IS 'Account at the billing system.';
COMMENT ON COLUMN loyalty.award_entry.external_id IS 'The sale''s id at the billing system.';
COMMENT ON COLUMN loyalty.award_entry.member_id IS 'Member who earns or returns the points.';
COMMENT ON COLUMN loyalty.award_entry.entry_no IS 'Position in the chain of this sale and member, from 1.';
COMMENT ON COLUMN loyalty.award_entry.due_before IS 'Points posted for this sale and member before this entry.';
COMMENT ON COLUMN loyalty.award_entry.due_after IS 'Points due for this sale and member from this entry on.';
COMMENT ON COLUMN loyalty.award_entry.points IS 'due_after - due_before: what this entry adds to (or takes from) the balance.';
COMMENT ON COLUMN loyalty.award_entry.reason IS 'award: first entry of the sale; edit, refund, void: the document changed so; moved: it belongs to another member now.';
COMMENT ON COLUMN loyalty.award_entry.breakdown IS 'How due_after came about: points per rule, e.g. {"base": 1500, "tier": 300}; their sum is due_after.';
COMMENT ON COLUMN loyalty.award_entry.net_minor IS 'Amount that earned: total (or subtotal) less refunds, in minor units; negative for credit notes and refunds.';
COMMENT ON COLUMN loyalty.award_entry.currency IS 'Currency of net_minor, ISO 4217.';
COMMENT ON COLUMN loyalty.award_entry.tier IS 'Tier in force for the member at event_at.';
COMMENT ON COLUMN loyalty.award_entry.program_version IS 'Version of the program that was in force at the sale.';
COMMENT ON COLUMN loyalty.award_entry.event_at IS 'When the sale happened: decides tier and promotions.';
COMMENT ON COLUMN loyalty.award_entry.posted_at IS 'When we posted it.';
COMMENT ON COLUMN loyalty.award_entry.run_id IS 'Prefect flow run that posted it.';

CREATE FUNCTION loyalty.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'loyalty.% keeps its history: add a correcting row instead of %', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
COMMENT ON FUNCTION loyalty.refuse_change() IS 'Refuses the statement: history is corrected by adding rows.';
CREATE TRIGGER member_kept BEFORE DELETE OR TRUNCATE ON loyalty.member
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE TRIGGER award_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.award_entry
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

-- The chain is the optimistic lock: an entry must continue exactly where the last one ended, whoever writes it.
CREATE FUNCTION loyalty.check_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE broken record;
BEGIN
    SELECT n.system, n.external_id, n.member_id, n.entry_no INTO broken
    FROM posted n
    LEFT JOIN loyalty.award_entry p
        ON (p.system, p.account, p.external_id, p.member_id, p.entry_no)
         = (n.system, n.account, n.external_id, n.member_id, n.entry_no - 1)
    WHERE n.entry_no > 1 AND p.due_after IS DISTINCT FROM n.due_before
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry % of % sale %, member % does not continue its chain',
            broken.entry_no, broken.system, broken.external_id, broken.member_id
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.check_chain() IS 'Refuses an entry whose due_before is not the due_after of the entry before it.';
CREATE TRIGGER award_entry_chain AFTER INSERT ON loyalty.award_entry
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.check_chain();

CREATE VIEW loyalty.member_balance AS
SELECT member_id,
       sum(points)::bigint                             AS balance_points,
       coalesce(sum(points) FILTER (WHERE points > 0), 0)::bigint AS added_points,
       coalesce(-sum(points) FILTER (WHERE points < 0), 0)::bigint AS taken_back_points,
       count(*)                                        AS entries,
       max(posted_at)                                  AS last_posted_at
FROM loyalty.award_entry
GROUP BY member_id;
COMMENT ON VIEW loyalty.member_balance IS 'Balance of each member: always the sum of the ledger, never stored.';
COMMENT ON COLUMN loyalty.member_balance.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.member_balance.balance_points IS 'Sum of all entries; may be negative.';
COMMENT ON COLUMN loyalty.member_balance.added_points IS 'Sum of the entries that add points.';
COMMENT ON COLUMN loyalty.member_balance.taken_back_points IS 'Sum of the entries that take points back, as a positive number.';
COMMENT ON COLUMN loyalty.member_balance.entries IS 'Number of entries.';
COMMENT ON COLUMN loyalty.member_balance.last_posted_at IS 'When the last entry was posted.';

-- A tier entered or corrected, even backdated, is a change of history like any other: the member's points are recomputed.
CREATE FUNCTION loyalty.mark_tier_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.member_dirty (member_id) SELECT DISTINCT member_id FROM changed ORDER BY member_id
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_tier_change() IS 'Marks members whose tier history changed, for the next award step.';
CREATE TRIGGER member_tier_marks AFTER INSERT ON loyalty.member_tier
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_tier_change();
CREATE TRIGGER member_tier_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.member_tier
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
