-- What members do beside buying: events that the loyalty app tells, a member's registration and
-- birthdays. They are facts, kept for good; what they are worth the rules say, and the award step
-- posts it as adjustments of a kind of their own, so that they expire, are told and are exported as
-- all others.
ALTER TABLE loyalty.program
    ADD COLUMN events jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(events) = 'object');
COMMENT ON COLUMN loyalty.program.events IS
    'Points of events by name: points, and at most how many of a member count in all or in a day.';

CREATE TABLE loyalty.member_event (
    event_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_id   bigint NOT NULL REFERENCES loyalty.member,
    name        text COLLATE "C" NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    event_key   text COLLATE "C" NOT NULL UNIQUE CHECK (length(event_key) BETWEEN 1 AND 220),
    happened_at timestamptz NOT NULL
        CHECK (isfinite(happened_at) AND happened_at >= '2000-01-01 00:00:00+00'),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_by text NOT NULL CHECK (btrim(recorded_by) <> '' AND length(recorded_by) <= 200),
    run_id      text NOT NULL
);
COMMENT ON TABLE loyalty.member_event IS
    'What members did beside buying, append-only. Rules of the program say what an event is worth.';
COMMENT ON COLUMN loyalty.member_event.event_no IS 'Order of entry.';
COMMENT ON COLUMN loyalty.member_event.member_id IS
    'Member as named when it was entered; after a merge it counts for whoever earns for them.';
COMMENT ON COLUMN loyalty.member_event.name IS
    'What happened: sign_up, birthday, or a name of the loyalty app.';
COMMENT ON COLUMN loyalty.member_event.event_key IS
    'The same event is here once: app/ and the app''s own id of it, sign_up/ and the member, '
    'birthday/ with member and year. No names and no phone numbers.';
COMMENT ON COLUMN loyalty.member_event.happened_at IS
    'Personal data where the name is birthday. When: decides the rule, and from when on its points expire.';
COMMENT ON COLUMN loyalty.member_event.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.member_event.recorded_by IS
    'Personal data of staff. Who entered it, as a rule an API key''s prefix.';
COMMENT ON COLUMN loyalty.member_event.run_id IS
    'Prefect flow run, command or request of the API that entered it.';
CREATE INDEX member_event_member ON loyalty.member_event (member_id, happened_at);
COMMENT ON INDEX loyalty.member_event_member IS 'What a member did.';
CREATE TRIGGER member_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.member_event
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

-- Whoever is a member so far signed up when they were registered, or else became a member: no later
-- registration of theirs is a new one. (No rule names events yet, so that nobody is marked.)
INSERT INTO loyalty.member_event (member_id, name, event_key, happened_at, recorded_by, run_id)
SELECT m.member_id, 'sign_up', 'sign_up/' || m.member_id,
       greatest(coalesce(r.at, m.created_at), '2000-01-01 00:00:00+00'), 'twezah', 'migration 0155'
FROM loyalty.member m LEFT JOIN (
    SELECT e.subject, min(e.at) AS at FROM audit.entry e
    WHERE e.operation = 'member.register' AND e.status = 'success' GROUP BY e.subject
) r ON r.subject = 'member ' || m.member_id
ORDER BY m.member_id;

CREATE FUNCTION loyalty.mark_named() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(SELECT DISTINCT member_id FROM changed));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_named() IS
    'Marks the members that the new rows name, for the next award step.';
CREATE TRIGGER member_event_marks AFTER INSERT ON loyalty.member_event
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_named();

CREATE TABLE loyalty.member_birthday (
    member_id   bigint PRIMARY KEY REFERENCES loyalty.member,
    month       integer NOT NULL CHECK (month BETWEEN 1 AND 12),
    day         integer NOT NULL,
    next_on     date NOT NULL,
    entered_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT member_birthday_is_a_day CHECK (
        day BETWEEN 1 AND CASE WHEN month = 2 THEN 29 WHEN month IN (4, 6, 9, 11) THEN 30
                               ELSE 31 END)
);
COMMENT ON TABLE loyalty.member_birthday IS
    'Birthdays of members, without the year. Not kept for good: an erasure, or the member, removes '
    'the row.';
COMMENT ON COLUMN loyalty.member_birthday.member_id IS 'Member.';
COMMENT ON COLUMN loyalty.member_birthday.month IS 'Personal data. Month of birth, 1 to 12.';
COMMENT ON COLUMN loyalty.member_birthday.day IS 'Personal data. Day of birth in that month.';
COMMENT ON COLUMN loyalty.member_birthday.next_on IS
    'Personal data. The next birthday that is no event yet; 28 February for the 29th in other '
    'years.';
COMMENT ON COLUMN loyalty.member_birthday.entered_at IS 'When it was entered, or last changed.';
CREATE INDEX member_birthday_next ON loyalty.member_birthday (next_on);
COMMENT ON INDEX loyalty.member_birthday_next IS 'Whose birthday it is.';

-- Points of events are adjustments of a kind of their own.
ALTER TABLE loyalty.adjustment
    DROP CONSTRAINT adjustment_kind_check,
    ADD CONSTRAINT adjustment_kind_check
        CHECK (kind IN ('adjustment', 'opening balance', 'event')),
    ADD COLUMN event_no bigint REFERENCES loyalty.member_event,
    ADD CONSTRAINT adjustment_names_its_event CHECK ((kind = 'event') = (event_no IS NOT NULL));
COMMENT ON COLUMN loyalty.adjustment.kind IS
    'adjustment: decided by hand; opening balance: points of an earlier program, imported; event: '
    'points that a rule gives for what a member did. A void has the kind of what it takes back.';
COMMENT ON COLUMN loyalty.adjustment.event_at IS
    'Personal data where a birthday is the reason. From when on the points count, for what depends '
    'on dates (expiry).';
COMMENT ON COLUMN loyalty.adjustment.event_no IS 'Of the kind event: which event; else null.';
CREATE INDEX adjustment_event ON loyalty.adjustment (event_no) WHERE event_no IS NOT NULL;
COMMENT ON INDEX loyalty.adjustment_event IS 'What is posted for an event.';

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
        NEW.event_no := voided.event_no;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.check_adjustment() IS
    'Refuses a void that is not exactly minus its adjustment, and gives it the same kind.';

-- The award step posts points of events, and computes what follows in the same transaction.
CREATE OR REPLACE FUNCTION loyalty.mark_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(
        ARRAY(SELECT DISTINCT member_id FROM changed WHERE kind <> 'event'));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_adjustment() IS
    'Marks members whose points somebody adjusted, for the next award step.';
DROP TRIGGER adjustment_audited ON loyalty.adjustment;
CREATE TRIGGER adjustment_audited AFTER INSERT ON loyalty.adjustment FOR EACH ROW
    WHEN (NEW.kind = 'adjustment' OR (NEW.kind = 'opening balance' AND NEW.voids_id IS NOT NULL))
    EXECUTE FUNCTION audit.on_adjustment();

-- An owner of every member is named: the entries of one are found by their index. The day of a
-- birthday is for nobody who may not read of persons; the year stays (half a day later, so that it
-- is that of the program's zone).
CREATE OR REPLACE VIEW analytics.adjustment AS
SELECT adjustment_id, member_id, points, voids_id, voided,
       CASE WHEN (SELECT billing.sees_persons()) THEN reason
            WHEN EXISTS (SELECT FROM billing.common_text c WHERE c.digest = md5(t.reason)::uuid)
                THEN billing.without_contacts(reason) END AS reason,
       CASE WHEN kind = 'event' AND reason = 'birthday' AND NOT (SELECT billing.sees_persons())
            THEN date_trunc('year', event_at + interval '12 hours', 'UTC')
            ELSE event_at END AS event_at,
       posted_at, run_id, kind
FROM (
    SELECT a.adjustment_id, o.owner_id AS member_id, a.points, a.voids_id,
           EXISTS (SELECT FROM loyalty.adjustment v WHERE v.voids_id = a.adjustment_id) AS voided,
           a.reason, a.event_at, a.posted_at, a.run_id, a.kind
    FROM loyalty.adjustment a JOIN loyalty.member_owner o USING (member_id)
) t;
COMMENT ON COLUMN analytics.adjustment.event_at IS
    'From when on it counts. Of a birthday analysts see the year''s first day.';
COMMENT ON VIEW analytics.adjustment IS
    'One row per adjustment by hand, opening balance, or points of an event.';
COMMENT ON COLUMN analytics.adjustment.kind IS
    'adjustment; opening balance: points of an earlier program; event: points that a rule gives '
    'for what a member did.';
DO $$
BEGIN
    EXECUTE format('COMMENT ON COLUMN analytics.points_history.kind IS %L',
        col_description('analytics.points_history'::regclass, 4)
        || ' Points of an event of the member, named in reason: event, or event void.');
END $$;

CREATE OR REPLACE VIEW loyalty.movement_kind AS
SELECT kind, added_line, taken_line FROM (VALUES
    -- An award below zero is a credit note or refund that is a document of its own.
    ('award', 'earned', 'corrected'),
    ('edit', 'corrected', 'corrected'),
    ('refund', 'corrected', 'corrected'),
    ('void', 'corrected', 'corrected'),
    ('moved', 'corrected', 'corrected'),
    ('referral', 'corrected', 'corrected'),
    ('duplicate', 'corrected', 'corrected'),
    ('adjustment', 'corrected', 'corrected'),
    ('adjustment void', 'corrected', 'corrected'),
    ('opening balance', 'corrected', 'corrected'),
    ('opening balance void', 'corrected', 'corrected'),
    ('event', 'earned', 'corrected'),
    ('event void', 'corrected', 'corrected'),
    ('expiry', 'expired', 'expired'),
    ('redemption', 'spent', 'spent'),
    ('redemption reversal', 'spent', 'spent')
) AS kinds(kind, added_line, taken_line);

CREATE VIEW analytics.member_event AS
SELECT t.event_no, t.owner_id AS member_id, t.name,
       CASE WHEN t.hidden THEN date_trunc('year', t.happened_at + interval '12 hours', 'UTC')
            ELSE t.happened_at END AS happened_at,
       CASE WHEN t.hidden THEN date_trunc('year', t.recorded_at, 'UTC')
            ELSE t.recorded_at END AS recorded_at,
       coalesce((
           SELECT sum(a.points) FROM loyalty.adjustment a WHERE a.event_no = t.event_no
       ), 0)::bigint AS points
FROM (
    SELECT e.*, o.owner_id, e.name = 'birthday' AND NOT (SELECT billing.sees_persons()) AS hidden
    FROM loyalty.member_event e JOIN loyalty.member_owner o USING (member_id)
) t;
COMMENT ON VIEW analytics.member_event IS
    'What members did beside buying, one row per event: as the loyalty app told it, registrations, '
    'and birthdays.';
COMMENT ON COLUMN analytics.member_event.event_no IS 'Order of entry.';
COMMENT ON COLUMN analytics.member_event.member_id IS 'Member it counts for (pseudonymous).';
COMMENT ON COLUMN analytics.member_event.name IS
    'What happened: sign_up, birthday, or a name of the loyalty app.';
COMMENT ON COLUMN analytics.member_event.happened_at IS
    'When. Of a birthday analysts see the year''s first day.';
COMMENT ON COLUMN analytics.member_event.recorded_at IS
    'When it became known. Of a birthday analysts see the year''s first day.';
COMMENT ON COLUMN analytics.member_event.points IS
    'Points posted for it; 0: no rule gives any, or it is beyond what a member may have.';

GRANT SELECT, INSERT ON loyalty.member_event TO twezah_api;
GRANT SELECT (event_no, member_id, name) ON loyalty.member_event TO twezah_panel;
GRANT SELECT, INSERT, UPDATE, DELETE ON loyalty.member_event, loyalty.member_birthday
    TO twezah_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON loyalty.member_birthday TO twezah_api;
GRANT SELECT ON analytics.member_event TO analyst, twezah_api, twezah_panel, twezah_worker;
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        GRANT MAINTAIN ON loyalty.member_event, loyalty.member_birthday TO twezah_worker;
    END IF;
END $$;
