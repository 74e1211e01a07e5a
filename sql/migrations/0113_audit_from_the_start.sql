-- One entry for each synchronisation, when it has ended. That it began was an entry of its own
-- (pending): half of the log. What is under way now, billing.sync_run says.
CREATE OR REPLACE FUNCTION audit.on_sync_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about jsonb := jsonb_build_object('sync_id', NEW.sync_id, 'since', NEW.requested_since,
        'until', NEW.requested_until, 'replay',
        nullif(EXISTS (SELECT FROM jsonb_object_keys(NEW.streams) k
            WHERE k LIKE 'replay of %'), false));
    counted jsonb := coalesce(NEW.summary, '{}');
    ended boolean := NEW.state = 'stored' AND NEW.summary IS NOT NULL
        AND (TG_OP = 'INSERT' OR OLD.summary IS DISTINCT FROM NEW.summary);
BEGIN
    IF NEW.error IS NOT NULL
       AND (TG_OP = 'INSERT' OR OLD.error IS DISTINCT FROM NEW.error OR OLD.state <> NEW.state)
    THEN
        PERFORM audit.record('sync', 'error', NEW.system || '/' || NEW.account, about, NEW.system,
            NEW.account, of_error => NEW.error, of_run_id => NEW.run_id);
    ELSIF ended THEN
        PERFORM audit.record('sync', 'success', NEW.system || '/' || NEW.account,
            about || jsonb_build_object('new', counted -> 'new', 'changed', counted -> 'changed',
                'rejected', counted -> 'rejected', 'entries', counted -> 'entries'),
            NEW.system, NEW.account, (counted ->> 'fetched')::bigint,
            (counted ->> 'points')::bigint, NULL, NEW.run_id);
    ELSIF NEW.state = 'abandoned' AND TG_OP = 'UPDATE' AND OLD.state <> 'abandoned' THEN
        PERFORM audit.record('sync', 'error', NEW.system || '/' || NEW.account, about, NEW.system,
            NEW.account, of_error => 'abandoned: a later synchronisation began anew',
            of_run_id => NEW.run_id);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_sync_run() IS 'Records how a poll ended.';

CREATE OR REPLACE FUNCTION audit.on_tiers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE many bigint; one bigint; given jsonb;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id), jsonb_agg(DISTINCT tier)
    INTO many, one, given FROM changed;
    IF many > 0 THEN
        PERFORM audit.record('tiers', 'success',
            CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END,
            jsonb_build_object('tiers', given), of_records => many);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION audit.on_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('connection.login', 'success', NEW.system || '/' || NEW.account,
        jsonb_build_object('login', 'the first token of new credentials'), NEW.system, NEW.account);
    RETURN NULL;
END $$;

COMMENT ON COLUMN audit.entry.status IS
    'success or error; of entries before November 2026 also pending: a synchronisation began.';
COMMENT ON COLUMN audit.entry.actor IS
    'Personal data of staff. Who: a user of the operating system, schedule, webhook, operator '
    '(somebody in Prefect''s UI, by name where the login knows one), twezah (the program itself), an '
    'API key''s prefix, or a database user.';
COMMENT ON COLUMN analytics.audit.status IS
    'success or error; of entries before November 2026 also pending: a synchronisation began.';
