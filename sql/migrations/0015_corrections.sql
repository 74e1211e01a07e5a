-- What people decide: points given or taken by hand, and which members are one and the same customer.
--
-- A merge changes no sale: billing.invoice keeps the member of the phone that the billing system told. Who earns for a member is
-- looked up when points are computed, so a merge, like its undoing, is a change of stored history like any other, and the
-- difference is posted.
ALTER TABLE loyalty.member_merge ADD COLUMN run_id text;
COMMENT ON COLUMN loyalty.member_merge.run_id IS 'Prefect flow run or command that entered it.';
COMMENT ON COLUMN loyalty.member_merge.reason IS 'Why: a second account, a new phone. No names and no phone numbers: analysts read it.';
COMMENT ON COLUMN loyalty.member_merge.recorded_by IS 'Who decided it.';

-- The one way to ask for points to be computed again: whoever earns for a member is asked for as well.
CREATE FUNCTION loyalty.mark_dirty(members bigint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT m FROM unnest(members) AS m WHERE m IS NOT NULL
    UNION SELECT o.owner_id FROM loyalty.merged_member o WHERE o.member_id = ANY(members)
    -- A friend's sales are worth points to who referred them.
    UNION SELECT r.referrer_id FROM loyalty.referral_owned r WHERE r.friend_id = ANY(members)
       OR r.friend_id IN (SELECT o.owner_id FROM loyalty.merged_member o WHERE o.member_id = ANY(members))
    ORDER BY 1
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1
$$;
COMMENT ON FUNCTION loyalty.mark_dirty(bigint[]) IS 'Marks members, those who earn for them and who referred them, for the next award step; in order of number, so that two who mark do not wait for each other.';

CREATE OR REPLACE FUNCTION loyalty.mark_rejected_awards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(
        SELECT DISTINCT i.member_id FROM billing.reject r JOIN billing.invoice i USING (external_id, account, system)
        WHERE r.stream = 'awards' AND r.resolved_at IS NULL AND i.member_id IS NOT NULL));
    RETURN NULL;
END $$;

-- Whoever earned for a member before a merge, or its undoing, no longer does.
CREATE FUNCTION loyalty.mark_former_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(
        SELECT m.into_id FROM loyalty.member_merge m WHERE m.member_id IN (SELECT member_id FROM changed)
        UNION SELECT member_id FROM changed));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_former_owners() IS 'Marks the members of a merge, and all who earned for them before, for the next award step.';
CREATE TRIGGER member_merge_marks AFTER INSERT ON loyalty.member_merge
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_former_owners();

CREATE TABLE loyalty.phone_change (
    change_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id     bigint NOT NULL REFERENCES loyalty.member,
    former_member_id bigint REFERENCES loyalty.member,
    reason        text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author        text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    run_id        text NOT NULL
);
COMMENT ON TABLE loyalty.phone_change IS 'Members whose phone was changed by hand, append-only. The numbers themselves are not kept here.';
COMMENT ON COLUMN loyalty.phone_change.change_id IS 'Number of the change.';
COMMENT ON COLUMN loyalty.phone_change.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.phone_change.former_member_id IS 'Member who holds the former number and was merged into this one, so that sales under it still count; null: the number was given up.';
COMMENT ON COLUMN loyalty.phone_change.reason IS 'Why. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.phone_change.author IS 'Who decided it.';
COMMENT ON COLUMN loyalty.phone_change.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.phone_change.run_id IS 'Command that entered it.';
CREATE TRIGGER phone_change_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.phone_change
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE TABLE loyalty.adjustment (
    adjustment_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key text COLLATE "C" NOT NULL UNIQUE CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    member_id       bigint NOT NULL REFERENCES loyalty.member,
    points          bigint NOT NULL CHECK (points <> 0 AND points BETWEEN -1000000000000 AND 1000000000000),
    voids_id        bigint UNIQUE REFERENCES loyalty.adjustment,
    reason          text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    author          text NOT NULL CHECK (btrim(author) <> '' AND length(author) <= 200),
    event_at        timestamptz NOT NULL DEFAULT now() CHECK (isfinite(event_at)),
    posted_at       timestamptz NOT NULL DEFAULT now(),
    run_id          text NOT NULL
);
CREATE INDEX adjustment_member ON loyalty.adjustment (member_id, event_at);
COMMENT ON TABLE loyalty.adjustment IS 'Points given or taken by hand, append-only; they count in the balance like ledger entries. To take one back, a row that voids it is added.';
COMMENT ON COLUMN loyalty.adjustment.adjustment_id IS 'Number of the adjustment.';
COMMENT ON COLUMN loyalty.adjustment.idempotency_key IS 'The same key never counts twice.';
COMMENT ON COLUMN loyalty.adjustment.member_id IS 'Member as named when it was entered; after a merge it counts for whoever earns for them (loyalty.merged_member).';
COMMENT ON COLUMN loyalty.adjustment.points IS 'What it adds to the balance; negative: takes.';
COMMENT ON COLUMN loyalty.adjustment.voids_id IS 'The adjustment that this row takes back, whole; null: this row is an adjustment.';
COMMENT ON COLUMN loyalty.adjustment.reason IS 'Why. No names and no phone numbers: analysts read it.';
COMMENT ON COLUMN loyalty.adjustment.author IS 'Who decided it.';
COMMENT ON COLUMN loyalty.adjustment.event_at IS 'From when on the points count, for what depends on dates (expiry).';
COMMENT ON COLUMN loyalty.adjustment.posted_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.adjustment.run_id IS 'Prefect flow run or command that entered it.';

CREATE FUNCTION loyalty.check_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE voided loyalty.adjustment;
BEGIN
    IF NEW.voids_id IS NOT NULL THEN
        SELECT * INTO voided FROM loyalty.adjustment a WHERE a.adjustment_id = NEW.voids_id;
        IF voided.voids_id IS NOT NULL OR (voided.member_id, -voided.points) <> (NEW.member_id, NEW.points) THEN
            RAISE EXCEPTION 'row % is no adjustment of member % by % points', NEW.voids_id, NEW.member_id, -NEW.points
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.check_adjustment() IS 'Refuses a void that is not exactly minus its adjustment.';
CREATE TRIGGER adjustment_void_is_exact BEFORE INSERT ON loyalty.adjustment
    FOR EACH ROW EXECUTE FUNCTION loyalty.check_adjustment();
CREATE TRIGGER adjustment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.adjustment
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
CREATE FUNCTION loyalty.mark_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_adjustment() IS 'Marks members whose points were adjusted: what depends on the balance is computed again.';
CREATE TRIGGER adjustment_marks AFTER INSERT ON loyalty.adjustment
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_adjustment();

CREATE OR REPLACE VIEW loyalty.member_balance AS
SELECT member_id,
       sum(points)::bigint                             AS balance_points,
       coalesce(sum(points) FILTER (WHERE points > 0), 0)::bigint AS added_points,
       coalesce(-sum(points) FILTER (WHERE points < 0), 0)::bigint AS taken_back_points,
       count(*)                                        AS entries,
       max(posted_at)                                  AS last_posted_at
FROM (
    SELECT member_id, points, posted_at FROM loyalty.award_entry
    UNION ALL
    SELECT coalesce(o.owner_id, a.member_id), a.points, a.posted_at
    FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o USING (member_id)
    UNION ALL
    SELECT member_id, points, posted_at FROM loyalty.expiry_entry
) posted
GROUP BY member_id;
COMMENT ON VIEW loyalty.member_balance IS 'Balance of each member: always the sum of the ledger, of the adjustments and of what expired, never stored.';
COMMENT ON COLUMN loyalty.member_balance.balance_points IS 'Sum of all entries and adjustments; may be negative.';
COMMENT ON COLUMN loyalty.member_balance.added_points IS 'Sum of those that add points.';
COMMENT ON COLUMN loyalty.member_balance.taken_back_points IS 'Sum of those that take points, as a positive number.';
COMMENT ON COLUMN loyalty.member_balance.entries IS 'Number of entries and adjustments.';
COMMENT ON COLUMN loyalty.member_balance.last_posted_at IS 'When the last one was posted.';

CREATE OR REPLACE VIEW analytics.member AS
SELECT m.member_id, coalesce(t.tier, p.entry_tier) AS tier, coalesce(b.balance_points, 0) AS balance_points,
       coalesce(b.added_points, 0) AS added_points, coalesce(b.taken_back_points, 0) AS taken_back_points,
       coalesce(b.entries, 0) AS entries, b.last_posted_at, m.created_at, o.owner_id AS merged_into
FROM loyalty.member m
CROSS JOIN LATERAL (SELECT entry_tier FROM loyalty.program WHERE valid_from <= now() ORDER BY valid_from DESC LIMIT 1) p
LEFT JOIN loyalty.member_balance b USING (member_id)
LEFT JOIN loyalty.merged_member o USING (member_id)
LEFT JOIN LATERAL (
    SELECT tier FROM loyalty.member_tier t WHERE t.member_id = m.member_id AND valid_from <= now()
    ORDER BY valid_from DESC, tier_no DESC LIMIT 1
) t ON true;
COMMENT ON COLUMN analytics.member.merged_into IS 'Member who earns for this one since they were merged; null: not merged.';

CREATE OR REPLACE VIEW analytics.sale AS
SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind, i.status, coalesce(o.owner_id, i.member_id) AS member_id, i.currency,
       billing.major_units(i.total_minor, i.currency)           AS total,
       billing.major_units(i.subtotal_minor, i.currency)        AS subtotal,
       billing.major_units(i.tax_minor, i.currency)             AS tax,
       billing.major_units(i.amount_refunded_minor, i.currency) AS refunded,
       coalesce(p.points, 0)::bigint                            AS points,
       coalesce(p.entries, 0)::integer                          AS entries,
       i.issued_at, i.updated_at, i.stored_at
FROM billing.invoice i
LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
LEFT JOIN LATERAL (
    SELECT sum(e.points) AS points, count(*) AS entries FROM loyalty.award_entry e
    WHERE (e.member_id, e.external_id, e.account, e.system) = (coalesce(o.owner_id, i.member_id), i.external_id, i.account, i.system)
) p ON true;
COMMENT ON COLUMN analytics.sale.member_id IS 'Member who earns for it (pseudonymous).';

CREATE VIEW analytics.adjustment AS
SELECT a.adjustment_id, coalesce(o.owner_id, a.member_id) AS member_id, a.points, a.voids_id,
       EXISTS (SELECT FROM loyalty.adjustment v WHERE v.voids_id = a.adjustment_id) AS voided,
       a.reason, a.event_at, a.posted_at, a.run_id
FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o USING (member_id);
COMMENT ON VIEW analytics.adjustment IS 'One row per adjustment by hand.';
COMMENT ON COLUMN analytics.adjustment.adjustment_id IS 'Number of the adjustment.';
COMMENT ON COLUMN analytics.adjustment.member_id IS 'Member it counts for (pseudonymous).';
COMMENT ON COLUMN analytics.adjustment.points IS 'What it adds to or takes from the balance.';
COMMENT ON COLUMN analytics.adjustment.voids_id IS 'The adjustment that it takes back; null: none.';
COMMENT ON COLUMN analytics.adjustment.voided IS 'Whether another one took it back.';
COMMENT ON COLUMN analytics.adjustment.reason IS 'Why.';
COMMENT ON COLUMN analytics.adjustment.event_at IS 'From when on it counts.';
COMMENT ON COLUMN analytics.adjustment.posted_at IS 'When it was entered.';
COMMENT ON COLUMN analytics.adjustment.run_id IS 'Run or command that entered it.';

CREATE VIEW analytics.points_history AS
SELECT member_id, posted_at, event_at, kind, points,
       sum(points) OVER (PARTITION BY member_id ORDER BY posted_at, kind, system, account, external_id, entry_no
                         ROWS UNBOUNDED PRECEDING)::bigint AS balance_points,
       reason, system, account, external_id, entry_no, run_id
FROM (
    SELECT e.member_id, e.posted_at, e.event_at, e.reason AS kind, e.points, NULL::text AS reason,
           e.system, e.account, e.external_id, e.entry_no, e.run_id
    FROM loyalty.award_entry e
    UNION ALL
    SELECT a.member_id, a.posted_at, a.event_at, CASE WHEN a.voids_id IS NULL THEN 'adjustment' ELSE 'adjustment void' END, a.points, a.reason,
           NULL, NULL, a.adjustment_id::text, NULL, a.run_id
    FROM analytics.adjustment a
    UNION ALL
    SELECT x.member_id, x.posted_at, x.expires_at, 'expiry', x.points, NULL, NULL, NULL, NULL, x.entry_no, x.run_id
    FROM loyalty.expiry_entry x
) posted;
COMMENT ON VIEW analytics.points_history IS 'Everything that moved a balance, one row each, with the balance after it: ledger entries and adjustments.';
COMMENT ON COLUMN analytics.points_history.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.points_history.posted_at IS 'When it was posted.';
COMMENT ON COLUMN analytics.points_history.event_at IS 'When the sale happened, or from when on the adjustment counts.';
COMMENT ON COLUMN analytics.points_history.kind IS 'award, edit, refund, void or moved (of a sale); adjustment or adjustment void; expiry.';
COMMENT ON COLUMN analytics.points_history.points IS 'What it adds to or takes from the balance.';
COMMENT ON COLUMN analytics.points_history.balance_points IS 'The balance after it.';
COMMENT ON COLUMN analytics.points_history.reason IS 'Why, of an adjustment.';
COMMENT ON COLUMN analytics.points_history.system IS 'Billing system of the sale.';
COMMENT ON COLUMN analytics.points_history.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.points_history.external_id IS 'Id of the sale, or number of the adjustment.';
COMMENT ON COLUMN analytics.points_history.entry_no IS 'Position in the chain of the sale.';
COMMENT ON COLUMN analytics.points_history.run_id IS 'Run or command that posted it.';

GRANT SELECT ON analytics.adjustment, analytics.points_history TO analyst;
