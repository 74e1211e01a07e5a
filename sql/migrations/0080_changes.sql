-- What changed for members, in one order: the feed that the loyalty app follows.
--
-- Whoever changes something notes it in the same transaction (loyalty.note_change). Notes are
-- published afterwards, by one publisher at a time, which gives them their numbers. A number is
-- therefore visible only when every lower one is: transactions that commit in another order than
-- they began hide nothing from a reader who goes on after the last number it saw.
CREATE TABLE loyalty.change_pending (
    pending_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL CHECK (kind ~ '^[a-z_]+([.][a-z_]+)+$'),
    member_id   bigint NOT NULL,
    data        jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'
                                      AND octet_length(data::text) <= 8000),
    happened_at timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX change_pending_due ON loyalty.change_pending (due_at);
COMMENT ON TABLE loyalty.change_pending IS
    'Changes that are noted and not published yet. Each goes into loyalty.change, with a number.';
COMMENT ON COLUMN loyalty.change_pending.pending_no IS 'Order in which they were noted.';
COMMENT ON COLUMN loyalty.change_pending.kind IS 'As in loyalty.change.';
COMMENT ON COLUMN loyalty.change_pending.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.change_pending.data IS 'As in loyalty.change.';
COMMENT ON COLUMN loyalty.change_pending.happened_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.change_pending.due_at IS
    'It is published from then on: a tier that begins later is told when it begins.';

CREATE TABLE loyalty.change (
    change_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text COLLATE "C" NOT NULL,
    member_id      bigint NOT NULL,
    data           jsonb NOT NULL,
    balance_points bigint NOT NULL,
    happened_at    timestamptz NOT NULL,
    published_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX change_member ON loyalty.change (member_id, change_no);
CREATE TRIGGER change_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON loyalty.change
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();
GRANT SELECT ON loyalty.change TO analyst;
COMMENT ON TABLE loyalty.change IS
    'What changed for members, append-only and without personal data: what the loyalty app reads '
    'and is told by webhooks.';
COMMENT ON COLUMN loyalty.change.change_no IS
    'Position in the feed. It rises, may leave numbers out, and is seen only when all lower ones '
    'are.';
COMMENT ON COLUMN loyalty.change.kind IS
    'points.changed, points.expiring, redemption.reversed, tier.changed, member.merged, '
    'member.unmerged, member.erased, or one that another ledger notes.';
COMMENT ON COLUMN loyalty.change.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.change.data IS 'What changed, by kind. No personal data.';
COMMENT ON COLUMN loyalty.change.balance_points IS
    'The member''s balance when this was published. That of the last change is the balance of '
    'today.';
COMMENT ON COLUMN loyalty.change.happened_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.change.published_at IS 'When it got its number.';

-- The tier that the app was told of last. Members without a row were told of none: they have the
-- program's entry tier.
CREATE TABLE loyalty.tier_published (
    member_id bigint PRIMARY KEY REFERENCES loyalty.member,
    tier      text NOT NULL
);
COMMENT ON TABLE loyalty.tier_published IS
    'The tier of each member as it was published last, so that only real changes are told.';
COMMENT ON COLUMN loyalty.tier_published.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.tier_published.tier IS 'Tier.';
-- What existed before the feed is no change.
INSERT INTO loyalty.tier_published (member_id, tier)
SELECT s.member_id, t.tier FROM (SELECT DISTINCT member_id FROM loyalty.tier_step) s
CROSS JOIN LATERAL loyalty.tier_now(s.member_id) t;

CREATE TABLE loyalty.expiry_notice (
    member_id  bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    points     bigint NOT NULL CHECK (points > 0),
    noticed_at timestamptz NOT NULL DEFAULT now(),
    run_id     text NOT NULL,
    PRIMARY KEY (member_id, expires_at)
);
GRANT SELECT ON loyalty.expiry_notice TO analyst;
COMMENT ON TABLE loyalty.expiry_notice IS
    'Points that were told to expire soon: once for each member and instant.';
COMMENT ON COLUMN loyalty.expiry_notice.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.expiry_notice.expires_at IS 'When they expire.';
COMMENT ON COLUMN loyalty.expiry_notice.points IS
    'How many, as far as it was known when it was told.';
COMMENT ON COLUMN loyalty.expiry_notice.noticed_at IS 'When it was told.';
COMMENT ON COLUMN loyalty.expiry_notice.run_id IS 'Prefect flow run that told it.';

ALTER TABLE loyalty.expiry_watch ADD noticed_until timestamptz;
COMMENT ON COLUMN loyalty.expiry_watch.noticed_until IS
    'Every member with points that expire before this instant was marked, so that they are told.';

CREATE FUNCTION loyalty.note_change(
    of_kind text, of_member bigint, of_data jsonb DEFAULT '{}',
    from_then_on timestamptz DEFAULT now()
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO loyalty.change_pending (kind, member_id, data, due_at)
    VALUES (of_kind, of_member, of_data, greatest(from_then_on, now()))
$$;
COMMENT ON FUNCTION loyalty.note_change IS
    'Notes a change of a member, of any kind, in the transaction that makes it. It is published '
    'once that transaction is committed, and not before the given instant.';

CREATE FUNCTION loyalty.note_awards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', member_id, jsonb_build_object('points', sum(points)::bigint,
        'entries', count(*), 'reasons', jsonb_agg(DISTINCT reason))
    FROM posted GROUP BY member_id ORDER BY member_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_awards IS 'Notes one change per member and statement.';
CREATE TRIGGER award_entry_noted AFTER INSERT ON loyalty.award_entry
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_awards();

CREATE FUNCTION loyalty.note_adjustments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', coalesce(o.owner_id, p.member_id), jsonb_build_object(
        'points', p.points, 'entries', 1, 'reasons', jsonb_build_array(
            CASE WHEN p.voids_id IS NULL THEN 'adjustment' ELSE 'adjustment void' END))
    FROM posted p LEFT JOIN loyalty.merged_member o USING (member_id) ORDER BY p.adjustment_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_adjustments IS
    'Notes points given or taken by hand, for the member whose balance they move.';
CREATE TRIGGER adjustment_noted AFTER INSERT ON loyalty.adjustment
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_adjustments();

CREATE FUNCTION loyalty.note_expiries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT 'points.changed', member_id, jsonb_build_object('points', sum(points)::bigint,
        'entries', count(*), 'reasons', '["expiry"]'::jsonb)
    FROM posted GROUP BY member_id ORDER BY member_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_expiries IS 'Notes points that expired, or came back.';
CREATE TRIGGER expiry_entry_noted AFTER INSERT ON loyalty.expiry_entry
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_expiries();

CREATE FUNCTION loyalty.note_redemption_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.change_pending (kind, member_id, data)
    SELECT CASE WHEN p.step = 'reversed' THEN 'redemption.reversed' ELSE 'points.changed' END,
           coalesce(o.owner_id, p.member_id), jsonb_build_object('points', p.points, 'entries', 1,
        'reasons', jsonb_build_array(p.step), 'redemption_id', p.redemption_id)
    FROM posted p LEFT JOIN loyalty.merged_member o USING (member_id)
    ORDER BY p.redemption_id, p.posted_at;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_redemption_steps IS
    'Notes points that were spent, given back, or no longer held, for the member whose points '
    'they are.';
CREATE TRIGGER redemption_step_noted AFTER INSERT ON loyalty.redemption_step
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT
    EXECUTE FUNCTION loyalty.note_redemption_steps();

CREATE FUNCTION loyalty.note_expiry_notices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.note_change('points.expiring', n.member_id,
        jsonb_build_object('points', n.points, 'expires_at', n.expires_at))
    FROM noticed n ORDER BY n.member_id, n.expires_at;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_expiry_notices IS 'Notes points that are about to expire.';
CREATE TRIGGER expiry_notice_noted AFTER INSERT ON loyalty.expiry_notice
    REFERENCING NEW TABLE AS noticed FOR EACH STATEMENT
    EXECUTE FUNCTION loyalty.note_expiry_notices();

CREATE FUNCTION loyalty.note_tiers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- At once, and again when a tier of the future begins.
    PERFORM loyalty.note_change('tier.changed', c.member_id, '{}', max(c.valid_from))
    FROM changed c GROUP BY c.member_id, greatest(c.valid_from, now()) ORDER BY c.member_id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_tiers IS
    'Notes that members may have another tier. The publisher compares it with the one that was '
    'told last.';
CREATE TRIGGER tier_entry_noted AFTER INSERT ON loyalty.tier_entry
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_tiers();
CREATE TRIGGER member_tier_noted AFTER INSERT ON loyalty.member_tier
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.note_tiers();

CREATE FUNCTION loyalty.note_merge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Balances move without an entry (adjustments follow the member), also of whoever earned for
    -- the member before.
    PERFORM loyalty.note_change(
        CASE WHEN NEW.into_id = NEW.member_id THEN 'member.unmerged' ELSE 'member.merged' END, m,
        jsonb_build_object('merged_member_id', NEW.member_id, 'into_member_id', NEW.into_id))
    FROM (
        SELECT NEW.member_id UNION SELECT NEW.into_id
        UNION SELECT into_id FROM loyalty.member_merge WHERE member_id = NEW.member_id
        UNION SELECT o.owner_id FROM loyalty.merged_member o
        WHERE o.member_id IN (
            SELECT into_id FROM loyalty.member_merge WHERE member_id = NEW.member_id)
    ) touched(m) ORDER BY m;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_merge IS
    'Notes a merge, or its undoing, for everybody whose balance it can move.';
CREATE TRIGGER member_merge_noted AFTER INSERT ON loyalty.member_merge
    FOR EACH ROW EXECUTE FUNCTION loyalty.note_merge();

CREATE FUNCTION loyalty.note_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.note_change('member.erased', NEW.member_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_erasure IS
    'Notes that a member''s personal data was removed: the app removes its copy.';
CREATE TRIGGER member_erasure_noted AFTER INSERT ON loyalty.member_erasure
    FOR EACH ROW EXECUTE FUNCTION loyalty.note_erasure();

CREATE FUNCTION loyalty.tier_news(numbers bigint[])
RETURNS TABLE (pending_no bigint, member_id bigint, tier text, tier_before text,
               valid_from timestamptz, happened_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT p.pending_no, p.member_id, t.tier, coalesce(k.tier, e.entry_tier), t.valid_from,
           p.happened_at
    FROM (SELECT min(c.pending_no) AS pending_no, c.member_id, max(c.happened_at) AS happened_at
          FROM loyalty.change_pending c
          WHERE c.pending_no = ANY(numbers) AND c.kind = 'tier.changed' GROUP BY c.member_id) p
    CROSS JOIN LATERAL loyalty.tier_now(p.member_id) t
    CROSS JOIN LATERAL (SELECT entry_tier FROM loyalty.program
                        WHERE program.valid_from <= now() ORDER BY version DESC LIMIT 1) e
    LEFT JOIN loyalty.tier_published k ON k.member_id = p.member_id
    WHERE t.tier <> coalesce(k.tier, e.entry_tier)
$$;
COMMENT ON FUNCTION loyalty.tier_news IS
    'Of these pending changes: members whose tier now is not the one that was published last.';
CREATE FUNCTION loyalty.publish_changes(at_most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    numbers bigint[];
    members bigint[];
BEGIN
    IF NOT EXISTS (SELECT FROM loyalty.change_pending WHERE due_at <= now()) THEN
        RETURN 0;
    END IF;
    -- One at a time, until its commit: numbers become visible in their order. Whoever comes
    -- meanwhile leaves it to this one.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('loyalty.change', 7)) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(n.pending_no), array_agg(DISTINCT n.member_id) INTO numbers, members
    FROM (SELECT pending_no, member_id FROM loyalty.change_pending
          WHERE due_at <= now() ORDER BY pending_no LIMIT at_most) n;
    -- The balances are read now, after everything that is published here was committed: a later
    -- change never has an older balance.
    WITH news AS MATERIALIZED (
        SELECT * FROM loyalty.tier_news(numbers)
    ), kept AS (
        INSERT INTO loyalty.tier_published (member_id, tier) SELECT member_id, tier FROM news
        ON CONFLICT (member_id) DO UPDATE SET tier = excluded.tier
    )
    INSERT INTO loyalty.change (kind, member_id, data, balance_points, happened_at)
    SELECT p.kind, p.member_id, p.data, coalesce(b.balance_points, 0), p.happened_at
    FROM (
        SELECT pending_no, kind, member_id, data, happened_at FROM loyalty.change_pending
        WHERE pending_no = ANY(numbers) AND kind <> 'tier.changed'
        UNION ALL
        SELECT pending_no, 'tier.changed', member_id, jsonb_build_object(
            'tier', tier, 'tier_before', tier_before, 'valid_from', valid_from), happened_at
        FROM news
    ) p
    LEFT JOIN (SELECT member_id, balance_points FROM loyalty.member_balance
               WHERE member_id = ANY(members)) b USING (member_id)
    ORDER BY p.pending_no;
    DELETE FROM loyalty.change_pending WHERE pending_no = ANY(numbers);
    RETURN coalesce(cardinality(numbers), 0);
END $$;

COMMENT ON FUNCTION loyalty.publish_changes IS
    'Gives up to so many pending changes their numbers, and returns how many it took; 0: none is '
    'due, or somebody else is at it. In a transaction of its own.';

CREATE VIEW analytics.change AS
SELECT change_no, kind, member_id, data, balance_points, happened_at, published_at
FROM loyalty.change;
GRANT SELECT ON analytics.change TO analyst;
COMMENT ON VIEW analytics.change IS
    'One row per change that the loyalty app could hear of, in the order of the feed.';
COMMENT ON COLUMN analytics.change.change_no IS 'Position in the feed.';
COMMENT ON COLUMN analytics.change.kind IS 'points.changed, points.expiring, tier.changed, ...';
COMMENT ON COLUMN analytics.change.member_id IS 'Member (pseudonymous).';
COMMENT ON COLUMN analytics.change.data IS 'What changed, by kind.';
COMMENT ON COLUMN analytics.change.balance_points IS 'The balance when it was published.';
COMMENT ON COLUMN analytics.change.happened_at IS 'When it was entered.';
COMMENT ON COLUMN analytics.change.published_at IS 'When it was published.';
