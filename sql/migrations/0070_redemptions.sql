-- Points that members spend. A redemption is a request under a name of its own (idempotency_key);
-- its steps move the balance. A redemption with an end (hold_ends_at) is a hold until it is
-- confirmed or cancelled; after its end it holds nothing, without anybody having to notice.
CREATE TABLE loyalty.redemption (
    redemption_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key text COLLATE "C" NOT NULL UNIQUE
        CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    member_id       bigint NOT NULL REFERENCES loyalty.member,
    points          bigint NOT NULL CHECK (points BETWEEN 1 AND 1000000000000),
    reference       text NOT NULL CHECK (btrim(reference) <> '' AND length(reference) <= 200),
    reason          text NOT NULL CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    requested_at    timestamptz NOT NULL CHECK (isfinite(requested_at)),
    hold_ends_at    timestamptz CHECK (isfinite(hold_ends_at) AND hold_ends_at > requested_at),
    requested_by    text NOT NULL CHECK (btrim(requested_by) <> '' AND length(requested_by) <= 200),
    run_id          text NOT NULL
);
CREATE INDEX redemption_member ON loyalty.redemption (member_id, redemption_id);
CREATE INDEX redemption_hold_end ON loyalty.redemption (hold_ends_at)
    WHERE hold_ends_at IS NOT NULL;
COMMENT ON TABLE loyalty.redemption IS
    'Requests to spend points, append-only. What became of each is in loyalty.redemption_step.';
COMMENT ON COLUMN loyalty.redemption.redemption_id IS 'Number of the redemption.';
COMMENT ON COLUMN loyalty.redemption.idempotency_key IS
    'The sender''s name for the request: the same name never spends twice.';
COMMENT ON COLUMN loyalty.redemption.member_id IS
    'Member as named in the request; after a merge it counts for whoever earns for them.';
COMMENT ON COLUMN loyalty.redemption.points IS 'Points to spend.';
COMMENT ON COLUMN loyalty.redemption.reference IS
    'What the points are spent on, as the sender numbers it: a reward, an order.';
COMMENT ON COLUMN loyalty.redemption.reason IS
    'Why, in words that the member reads. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.redemption.requested_at IS
    'When the member was locked for it. For expiry the points count as taken from here on.';
COMMENT ON COLUMN loyalty.redemption.hold_ends_at IS
    'A hold reserves the points until this instant; null: they were spent at once.';
COMMENT ON COLUMN loyalty.redemption.requested_by IS 'API key or person.';
COMMENT ON COLUMN loyalty.redemption.run_id IS 'Request of the API, or command.';
CREATE TRIGGER redemption_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.redemption
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

CREATE TABLE loyalty.redemption_step (
    redemption_id   bigint NOT NULL REFERENCES loyalty.redemption,
    step            text NOT NULL CHECK (step IN ('redeemed', 'cancelled', 'reversed')),
    member_id       bigint NOT NULL,
    points          bigint NOT NULL,
    idempotency_key text COLLATE "C" UNIQUE CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    reason          text CHECK (btrim(reason) <> '' AND length(reason) <= 500),
    posted_at       timestamptz NOT NULL,
    posted_by       text NOT NULL CHECK (btrim(posted_by) <> '' AND length(posted_by) <= 200),
    run_id          text NOT NULL,
    PRIMARY KEY (redemption_id, step)
);
CREATE INDEX redemption_step_member ON loyalty.redemption_step (member_id, posted_at);
COMMENT ON TABLE loyalty.redemption_step IS
    'What became of a redemption, append-only: each step once. The points of all steps count in '
    'the balance.';
COMMENT ON COLUMN loyalty.redemption_step.redemption_id IS 'Redemption.';
COMMENT ON COLUMN loyalty.redemption_step.step IS
    'redeemed: the points are spent (at once, or a hold was confirmed); cancelled: the hold was '
    'given up; reversed: spent points were given back.';
COMMENT ON COLUMN loyalty.redemption_step.member_id IS 'Member of the redemption.';
COMMENT ON COLUMN loyalty.redemption_step.points IS
    'What the step adds to the balance: minus the points if redeemed, 0 if cancelled, the points '
    'if reversed.';
COMMENT ON COLUMN loyalty.redemption_step.idempotency_key IS
    'The sender''s name for the request; null: it is the redemption''s own.';
COMMENT ON COLUMN loyalty.redemption_step.reason IS
    'Why, of a step with a reason of its own. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.redemption_step.posted_at IS 'When it was posted.';
COMMENT ON COLUMN loyalty.redemption_step.posted_by IS 'API key or person.';
COMMENT ON COLUMN loyalty.redemption_step.run_id IS 'Request of the API, or command.';
CREATE TRIGGER redemption_step_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.redemption_step
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

-- Whoever writes a step: it fits its redemption and the steps before it. Two writers wait here.
CREATE FUNCTION loyalty.check_redemption_step() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked loyalty.redemption;
    earlier text[];
BEGIN
    SELECT * INTO asked FROM loyalty.redemption r WHERE r.redemption_id = NEW.redemption_id
    FOR NO KEY UPDATE;
    SELECT coalesce(array_agg(s.step), '{}') INTO earlier FROM loyalty.redemption_step s
    WHERE s.redemption_id = NEW.redemption_id;
    IF NEW.member_id <> asked.member_id
        OR NEW.points <> (CASE NEW.step WHEN 'redeemed' THEN -asked.points
                                        WHEN 'reversed' THEN asked.points ELSE 0 END)
        OR (NEW.step = 'redeemed' AND (earlier <> '{}' OR NEW.posted_at >= asked.hold_ends_at))
        OR (NEW.step = 'cancelled' AND (earlier <> '{}' OR asked.hold_ends_at IS NULL))
        OR (NEW.step = 'reversed' AND earlier <> '{redeemed}')
    THEN
        RAISE EXCEPTION 'redemption % cannot be % now', NEW.redemption_id, NEW.step
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.check_redemption_step() IS
    'Refuses a step that does not fit its redemption and the steps before it.';
CREATE TRIGGER redemption_step_fits BEFORE INSERT ON loyalty.redemption_step
    FOR EACH ROW EXECUTE FUNCTION loyalty.check_redemption_step();

-- The lock on a member. Who earns for them is asked again once it is held: a merge may have come
-- first. A merge takes the same locks, so nobody spends the points of two members at once.
CREATE FUNCTION loyalty.lock_owner(of_member bigint) RETURNS bigint LANGUAGE plpgsql
SET lock_timeout = '2s' AS $$
DECLARE
    owner bigint;
    locked bigint;
BEGIN
    LOOP
        SELECT coalesce(o.owner_id, m.member_id) INTO owner
        FROM loyalty.member m LEFT JOIN loyalty.merged_member o USING (member_id)
        WHERE m.member_id = of_member;
        IF owner IS NULL OR owner = locked THEN
            RETURN owner;
        END IF;
        -- A queue first, in the order of arrival: whoever comes while a row is being freed would
        -- pass those who have waited for it.
        PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.lock_owner', owner));
        PERFORM FROM loyalty.member m WHERE m.member_id = owner FOR NO KEY UPDATE;
        locked := owner;
    END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.lock_owner(bigint) IS
    'Locks whoever earns for the member until the transaction ends, and says who it is; null: '
    'there is no such member. Whoever spends points holds this lock. Fails after two seconds.';

CREATE FUNCTION loyalty.lock_merging() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM loyalty.member m
    WHERE m.member_id IN (NEW.member_id, NEW.into_id)
       OR m.member_id IN (SELECT o.owner_id FROM loyalty.merged_member o
                          WHERE o.member_id IN (NEW.member_id, NEW.into_id))
    ORDER BY m.member_id FOR NO KEY UPDATE;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.lock_merging() IS
    'A merge, or its undoing, waits for whoever spends points of the members, and they for it.';
CREATE TRIGGER member_merge_locks BEFORE INSERT ON loyalty.member_merge
    FOR EACH ROW EXECUTE FUNCTION loyalty.lock_merging();

-- Points that are given back may be over by now: their expiry is computed again. What is spent
-- changes no expiry of the past, and nothing waits for the award step where points never expire.
CREATE FUNCTION loyalty.mark_released() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM loyalty.program WHERE expiry IS NOT NULL) THEN
        PERFORM loyalty.mark_dirty(ARRAY[NEW.member_id]);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_released() IS
    'Marks a member who got points back, for the next award step, where points can expire.';
CREATE TRIGGER redemption_step_marks AFTER INSERT ON loyalty.redemption_step
    FOR EACH ROW WHEN (NEW.step <> 'redeemed') EXECUTE FUNCTION loyalty.mark_released();

-- Every member and who earns for them; two parts, so that the index serves both directions.
CREATE VIEW loyalty.member_owner AS
SELECT m.member_id, m.member_id AS owner_id FROM loyalty.member m
WHERE NOT EXISTS (SELECT FROM loyalty.merged_member o WHERE o.member_id = m.member_id)
UNION ALL
SELECT o.member_id, o.owner_id FROM loyalty.merged_member o;
COMMENT ON VIEW loyalty.member_owner IS
    'Every member and who earns for them: the same number, unless they were merged.';
COMMENT ON COLUMN loyalty.member_owner.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.member_owner.owner_id IS 'Member who earns for them.';

CREATE VIEW loyalty.redemption_state AS
SELECT r.redemption_id, r.member_id, o.owner_id, r.points,
       CASE WHEN v.step IS NOT NULL THEN 'reversed' WHEN s.step IS NOT NULL THEN 'redeemed'
            WHEN c.step IS NOT NULL THEN 'cancelled' WHEN r.hold_ends_at > now() THEN 'held'
            ELSE 'ended' END AS state,
       r.reference, r.reason, r.requested_at, r.hold_ends_at, s.posted_at AS redeemed_at,
       c.posted_at AS cancelled_at, v.posted_at AS reversed_at,
       coalesce(v.reason, c.reason) AS released_why
FROM loyalty.redemption r
JOIN loyalty.member_owner o USING (member_id)
LEFT JOIN loyalty.redemption_step s
  ON s.redemption_id = r.redemption_id AND s.step = 'redeemed'
LEFT JOIN loyalty.redemption_step c
  ON c.redemption_id = r.redemption_id AND c.step = 'cancelled'
LEFT JOIN loyalty.redemption_step v
  ON v.redemption_id = r.redemption_id AND v.step = 'reversed';
COMMENT ON VIEW loyalty.redemption_state IS 'Every redemption and what became of it.';
COMMENT ON COLUMN loyalty.redemption_state.redemption_id IS 'Number of the redemption.';
COMMENT ON COLUMN loyalty.redemption_state.member_id IS 'Member as named in the request.';
COMMENT ON COLUMN loyalty.redemption_state.owner_id IS 'Member it counts for.';
COMMENT ON COLUMN loyalty.redemption_state.points IS 'Points to spend.';
COMMENT ON COLUMN loyalty.redemption_state.state IS
    'held: reserved; redeemed: spent; cancelled: the hold was given up; ended: the hold ended by '
    'itself; reversed: spent, and given back.';
COMMENT ON COLUMN loyalty.redemption_state.reference IS 'What the points are spent on.';
COMMENT ON COLUMN loyalty.redemption_state.reason IS 'Why.';
COMMENT ON COLUMN loyalty.redemption_state.requested_at IS
    'When the points were spent or reserved.';
COMMENT ON COLUMN loyalty.redemption_state.hold_ends_at IS
    'Until when the hold reserves them; null: it never was a hold.';
COMMENT ON COLUMN loyalty.redemption_state.redeemed_at IS 'When the points were spent.';
COMMENT ON COLUMN loyalty.redemption_state.cancelled_at IS 'When the hold was cancelled.';
COMMENT ON COLUMN loyalty.redemption_state.reversed_at IS 'When the points were given back.';
COMMENT ON COLUMN loyalty.redemption_state.released_why IS
    'Why the hold was cancelled, or the points were given back.';

CREATE OR REPLACE VIEW loyalty.member_balance AS
SELECT member_id,
       sum(points)::bigint                             AS balance_points,
       coalesce(sum(points) FILTER (WHERE points > 0 AND spent = 0), 0)::bigint AS added_points,
       coalesce(-sum(points) FILTER (WHERE points < 0 AND spent = 0), 0)::bigint
           AS taken_back_points,
       count(posted_at)                                AS entries,
       max(posted_at)                                  AS last_posted_at,
       sum(spent)::bigint                              AS spent_points,
       sum(held)::bigint                               AS held_points,
       greatest(sum(points) - sum(held), 0)::bigint    AS available_points
FROM (
    SELECT member_id, points, 0::bigint AS spent, 0::bigint AS held, posted_at
    FROM loyalty.award_entry
    UNION ALL
    SELECT coalesce(o.owner_id, a.member_id) AS member_id, a.points, 0::bigint AS spent,
           0::bigint AS held, a.posted_at
    FROM loyalty.adjustment a LEFT JOIN loyalty.merged_member o USING (member_id)
    UNION ALL
    SELECT member_id, points, 0::bigint AS spent, 0::bigint AS held, posted_at
    FROM loyalty.expiry_entry
    UNION ALL
    SELECT o.owner_id AS member_id, s.points, -s.points AS spent, 0::bigint AS held, s.posted_at
    FROM loyalty.redemption_step s JOIN loyalty.member_owner o USING (member_id)
    WHERE s.points <> 0
    UNION ALL
    SELECT o.owner_id AS member_id, 0::bigint AS points, 0::bigint AS spent, r.points AS held,
           NULL::timestamptz AS posted_at
    FROM loyalty.redemption r JOIN loyalty.member_owner o USING (member_id)
    WHERE r.hold_ends_at > now() AND NOT EXISTS (
        SELECT FROM loyalty.redemption_step s WHERE s.redemption_id = r.redemption_id)
) posted
GROUP BY member_id;
COMMENT ON VIEW loyalty.member_balance IS
    'Balance of each member: always the sum of the ledger, of the adjustments, of what expired '
    'and of what was spent, never stored.';
COMMENT ON COLUMN loyalty.member_balance.balance_points IS
    'Sum of everything posted: added_points - taken_back_points - spent_points; may be negative.';
COMMENT ON COLUMN loyalty.member_balance.added_points IS
    'Sum of what adds points, without redemptions given back.';
COMMENT ON COLUMN loyalty.member_balance.taken_back_points IS
    'Sum of what takes points, without redemptions, as a positive number.';
COMMENT ON COLUMN loyalty.member_balance.entries IS
    'Number of entries, adjustments, expiries, redemptions and reversals.';
COMMENT ON COLUMN loyalty.member_balance.spent_points IS
    'Points spent, less those given back.';
COMMENT ON COLUMN loyalty.member_balance.held_points IS 'Points reserved by holds now.';
COMMENT ON COLUMN loyalty.member_balance.available_points IS
    'Points that can be spent: the balance without held points, and never below 0.';

CREATE OR REPLACE VIEW analytics.member AS
SELECT m.member_id, t.tier, coalesce(b.balance_points, 0) AS balance_points,
       coalesce(b.added_points, 0) AS added_points,
       coalesce(b.taken_back_points, 0) AS taken_back_points,
       coalesce(b.entries, 0) AS entries, b.last_posted_at, m.created_at,
       o.owner_id AS merged_into,
       coalesce(b.spent_points, 0) AS spent_points, coalesce(b.held_points, 0) AS held_points,
       coalesce(b.available_points, 0) AS available_points
FROM loyalty.member m
LEFT JOIN loyalty.member_balance b USING (member_id)
LEFT JOIN loyalty.merged_member o USING (member_id)
CROSS JOIN LATERAL loyalty.tier_now(m.member_id) t;
COMMENT ON COLUMN analytics.member.spent_points IS 'Points spent, less those given back.';
COMMENT ON COLUMN analytics.member.held_points IS 'Points reserved by holds now.';
COMMENT ON COLUMN analytics.member.available_points IS
    'Points that can be spent: the balance without held points, and never below 0.';

CREATE VIEW analytics.redemption AS
SELECT redemption_id, owner_id AS member_id, points, state, reference, reason, requested_at,
       hold_ends_at, redeemed_at, cancelled_at, reversed_at, released_why
FROM loyalty.redemption_state;
COMMENT ON VIEW analytics.redemption IS 'One row per redemption or hold.';
COMMENT ON COLUMN analytics.redemption.redemption_id IS 'Number of the redemption.';
COMMENT ON COLUMN analytics.redemption.member_id IS 'Member it counts for (pseudonymous).';
COMMENT ON COLUMN analytics.redemption.points IS 'Points spent or reserved.';
COMMENT ON COLUMN analytics.redemption.state IS
    'held, redeemed, cancelled, ended (a hold that nobody confirmed) or reversed.';
COMMENT ON COLUMN analytics.redemption.reference IS 'What the points are spent on.';
COMMENT ON COLUMN analytics.redemption.reason IS 'Why.';
COMMENT ON COLUMN analytics.redemption.requested_at IS 'When they were spent or reserved.';
COMMENT ON COLUMN analytics.redemption.hold_ends_at IS
    'Until when the hold reserves them; null: it never was a hold.';
COMMENT ON COLUMN analytics.redemption.redeemed_at IS 'When they were spent.';
COMMENT ON COLUMN analytics.redemption.cancelled_at IS 'When the hold was cancelled.';
COMMENT ON COLUMN analytics.redemption.reversed_at IS 'When they were given back.';
COMMENT ON COLUMN analytics.redemption.released_why IS
    'Why the hold was cancelled, or the points were given back.';

CREATE OR REPLACE VIEW analytics.points_history AS
SELECT member_id, posted_at, event_at, kind, points,
       sum(points) OVER (PARTITION BY member_id
                         ORDER BY posted_at, kind, system, account, external_id, entry_no
                         ROWS UNBOUNDED PRECEDING)::bigint AS balance_points,
       reason, system, account, external_id, entry_no, run_id
FROM (
    SELECT e.member_id, e.posted_at, e.event_at, e.reason AS kind, e.points, NULL::text AS reason,
           e.system, e.account, e.external_id, e.entry_no, e.run_id
    FROM loyalty.award_entry e
    UNION ALL
    SELECT a.member_id, a.posted_at, a.event_at,
           CASE WHEN a.voids_id IS NULL THEN 'adjustment' ELSE 'adjustment void' END, a.points,
           a.reason, NULL, NULL, a.adjustment_id::text, NULL, a.run_id
    FROM analytics.adjustment a
    UNION ALL
    SELECT x.member_id, x.posted_at, x.expires_at, 'expiry', x.points, NULL, NULL, NULL, NULL,
           x.entry_no, x.run_id
    FROM loyalty.expiry_entry x
    UNION ALL
    SELECT o.owner_id, s.posted_at, r.requested_at,
           CASE WHEN s.step = 'redeemed' THEN 'redemption' ELSE 'redemption reversal' END,
           s.points, coalesce(s.reason, r.reason) || ' (' || r.reference || ')', NULL, NULL,
           r.redemption_id::text, NULL, s.run_id
    FROM loyalty.redemption_step s
    JOIN loyalty.redemption r USING (redemption_id)
    JOIN loyalty.member_owner o ON o.member_id = s.member_id
    WHERE s.points <> 0
) posted;
COMMENT ON VIEW analytics.points_history IS
    'Everything that moved a balance, one row each, with the balance after it: ledger entries, '
    'adjustments, expiries and redemptions.';
COMMENT ON COLUMN analytics.points_history.event_at IS
    'When the sale happened; from when on the adjustment counts; when the points expired, or were '
    'spent or reserved.';
COMMENT ON COLUMN analytics.points_history.kind IS
    'award, edit, refund, void, moved, referral or duplicate (of a sale); adjustment or '
    'adjustment void; expiry; redemption or redemption reversal.';
COMMENT ON COLUMN analytics.points_history.reason IS 'Why, of an adjustment or a redemption.';
COMMENT ON COLUMN analytics.points_history.external_id IS
    'Id of the sale, or number of the adjustment or redemption.';

-- The references and reasons stay where they are; the numbers lead to them.
CREATE FUNCTION audit.on_redemption() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('points.hold', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('redemption_id', NEW.redemption_id, 'points_held', NEW.points,
                           'hold_ends_at', NEW.hold_ends_at, 'author', NEW.requested_by),
        of_records => 1, of_points => 0, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_redemption() IS 'Records that points were reserved.';
CREATE TRIGGER redemption_audited AFTER INSERT ON loyalty.redemption
    FOR EACH ROW WHEN (NEW.hold_ends_at IS NOT NULL) EXECUTE FUNCTION audit.on_redemption();

CREATE FUNCTION audit.on_redemption_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(
        CASE NEW.step WHEN 'redeemed' THEN 'points.redeem' WHEN 'reversed' THEN 'points.reverse'
                      ELSE 'points.release' END,
        'success', 'member ' || NEW.member_id,
        jsonb_build_object('redemption_id', NEW.redemption_id, 'author', NEW.posted_by),
        of_records => 1, of_points => NEW.points, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_redemption_step() IS
    'Records that points were spent, given back, or no longer reserved.';
CREATE TRIGGER redemption_step_audited AFTER INSERT ON loyalty.redemption_step
    FOR EACH ROW EXECUTE FUNCTION audit.on_redemption_step();

GRANT SELECT ON analytics.redemption TO analyst;
