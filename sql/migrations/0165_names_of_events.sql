-- Points of an event say for which one, also where nobody may read of persons: that is what they
-- are for. Its name is one of the program's rules and tells of nobody; analytics.member_event shows
-- it to the same readers. (Reasons of other kinds are free text, and stay hidden there.)
CREATE OR REPLACE VIEW analytics.adjustment AS
SELECT adjustment_id, member_id, points, voids_id, voided,
       CASE WHEN kind = 'event' OR (SELECT billing.sees_persons()) THEN reason
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

-- (Changed where it stands: its many columns and their comments stay as they are.)
DO $$
DECLARE
    before text := pg_get_viewdef('analytics.points_history'::regclass);
    hidden text := 'CASE\s+WHEN \( SELECT billing\.sees_persons\(\) AS sees_persons\) THEN reason';
    after text := regexp_replace(before, hidden,
        'CASE WHEN kind IN (''event'', ''event void'') OR (SELECT billing.sees_persons()) '
        'THEN reason');
BEGIN
    IF after = before THEN
        RAISE EXCEPTION 'analytics.points_history is not as it should be';
    END IF;
    EXECUTE 'CREATE OR REPLACE VIEW analytics.points_history AS ' || after;
END $$;
