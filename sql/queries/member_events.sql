-- name: add
-- Enters an event; no row: it is here already.
INSERT INTO loyalty.member_event (member_id, name, event_key, happened_at, recorded_by, run_id)
VALUES (%(member_id)s, %(name)s, %(event_key)s, coalesce(%(happened_at)s, clock_timestamp()),
    %(by)s, %(run_id)s)
ON CONFLICT (event_key) DO NOTHING RETURNING event_no
-- name: of_key
-- The event with a key, and the points posted for it.
SELECT e.event_no, e.member_id, e.name, substr(e.event_key, 5), e.happened_at, e.recorded_at,
       coalesce((SELECT sum(a.points) FROM loyalty.adjustment a WHERE a.event_no = e.event_no), 0)
FROM loyalty.member_event e WHERE e.event_key = %(event_key)s
-- name: of_member
-- Events of a customer, the latest first; the app's id of those that it told. Of a birthday only the
-- year: its day needs a scope of its own.
SELECT e.event_no, e.member_id, e.name,
       CASE WHEN e.event_key LIKE 'app/%%' THEN substr(e.event_key, 5) END,
       CASE WHEN e.name = 'birthday' THEN date_trunc('year', e.happened_at + interval '12 hours',
           'UTC') ELSE e.happened_at END,
       CASE WHEN e.name = 'birthday' THEN date_trunc('year', e.recorded_at, 'UTC')
           ELSE e.recorded_at END,
       coalesce((SELECT sum(a.points) FROM loyalty.adjustment a WHERE a.event_no = e.event_no), 0)
FROM loyalty.member_event e JOIN loyalty.member_owner o USING (member_id)
WHERE o.owner_id = (SELECT w.owner_id FROM loyalty.member_owner w WHERE w.member_id = %(member_id)s)
  AND (%(before)s::bigint IS NULL OR e.event_no < %(before)s)
ORDER BY e.event_no DESC LIMIT %(limit)s
-- name: events
-- What the members did, by who earns for them. (Where nobody ever did anything, that ends it.)
SELECT e.event_no, o.owner_id, e.name, e.event_key,
       (extract(epoch FROM e.happened_at) * 1000000)::bigint
FROM loyalty.member_owner o JOIN loyalty.member_event e USING (member_id)
WHERE (SELECT true FROM loyalty.member_event LIMIT 1) AND o.owner_id = ANY(%(members)s)
-- name: posted
-- What is posted for the members' events, by event: the sum, the adjustment that counts, and how
-- many there were.
SELECT e.event_no, o.owner_id, (extract(epoch FROM e.happened_at) * 1000000)::bigint,
       sum(a.points)::bigint, max(a.adjustment_id) FILTER (WHERE a.voids_id IS NULL),
       count(*) FILTER (WHERE a.voids_id IS NULL)
FROM loyalty.member_owner o JOIN loyalty.member_event e USING (member_id)
JOIN loyalty.adjustment a ON a.event_no = e.event_no
WHERE (SELECT true FROM loyalty.member_event LIMIT 1) AND o.owner_id = ANY(%(members)s)
GROUP BY e.event_no, o.owner_id, e.happened_at
-- name: take_back
-- Takes points of events back, each by its opposite; tells the names of the events.
INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, voids_id, reason, author,
    event_at, run_id)
SELECT a.idempotency_key || ' void', a.member_id, -a.points, a.adjustment_id, a.reason, a.author,
       a.event_at, %(run_id)s
FROM loyalty.adjustment a WHERE a.adjustment_id = ANY(%(adjustments)s) ORDER BY a.adjustment_id
RETURNING reason, points
-- name: give
-- Posts points of events; tells their names.
INSERT INTO loyalty.adjustment (idempotency_key, member_id, points, reason, author, event_at,
    run_id, kind, event_no)
SELECT 'event/' || e.event_no || '/' || g.number, e.member_id, g.points, e.name,
       'twezah', e.happened_at, %(run_id)s, 'event', e.event_no
FROM unnest(%(events)s::bigint[], %(points)s::bigint[], %(numbers)s::bigint[])
    AS g (event_no, points, number)
JOIN loyalty.member_event e USING (event_no) ORDER BY e.event_no
RETURNING reason, points
-- name: birthday
-- A member's birthday.
SELECT month, day FROM loyalty.member_birthday WHERE member_id = %(member_id)s
-- name: set_birthday
-- Enters a birthday, or another one.
INSERT INTO loyalty.member_birthday (member_id, month, day, next_on)
VALUES (%(member_id)s, %(month)s, %(day)s, %(next_on)s)
ON CONFLICT (member_id) DO UPDATE
SET month = excluded.month, day = excluded.day, next_on = excluded.next_on, entered_at = now()
-- name: count_birthdays
-- How many of some members have told their birthday.
SELECT count(*) FROM loyalty.member_birthday WHERE member_id = ANY(%(members)s)
-- name: forget_birthdays
-- Removes the birthdays of some members.
DELETE FROM loyalty.member_birthday WHERE member_id = ANY(%(members)s)
-- name: due_birthdays
-- Birthdays that have begun and are no event yet; those that another run notes are left to it.
SELECT member_id, month, day, next_on FROM loyalty.member_birthday
WHERE next_on <= %(today)s ORDER BY member_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
-- name: note_birthdays
-- Enters birthdays as events; whoever had one in that year has it already.
INSERT INTO loyalty.member_event (member_id, name, event_key, happened_at, recorded_by, run_id)
SELECT member_id, 'birthday', 'birthday/' || member_id || '/' || year, at, %(by)s, %(run_id)s
FROM unnest(%(members)s::bigint[], %(years)s::integer[], %(at)s::timestamptz[])
    AS b (member_id, year, at) ORDER BY member_id, year
ON CONFLICT (event_key) DO NOTHING
-- name: next_birthdays
-- When the members have their next birthday.
UPDATE loyalty.member_birthday b SET next_on = n.next_on
FROM unnest(%(members)s::bigint[], %(next_on)s::date[]) AS n (member_id, next_on)
WHERE b.member_id = n.member_id
