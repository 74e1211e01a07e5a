-- The audit log: who did what, when, with what result. Append-only, and each entry's hash covers the one before it.
--
-- An entry is written in the transaction of what it records, mostly by triggers, so that nothing is forgotten whichever program, or
-- person with psql, did it. It waits in audit.pending, which no other transaction ever sees, and joins the chain as the last thing before
-- the commit: writers wait for each other for as long as a commit takes, never for a long transaction.
CREATE SCHEMA IF NOT EXISTS audit;
COMMENT ON SCHEMA audit IS 'Who did what, when, with what result: append-only and chained by hashes.';

CREATE TABLE audit.entry (
    entry_no      bigint PRIMARY KEY CHECK (entry_no >= 1),
    at            timestamptz NOT NULL CHECK (isfinite(at)),
    actor         text NOT NULL CHECK (actor <> '' AND length(actor) <= 200),
    operation     text COLLATE "C" NOT NULL CHECK (operation ~ '^[a-z][a-z0-9_.-]{1,60}$'),
    status        text COLLATE "C" NOT NULL CHECK (status IN ('success', 'error', 'pending')),
    subject       text NOT NULL CHECK (length(subject) <= 300),
    system        text COLLATE "C",
    account       text COLLATE "C",
    records       bigint,
    points        bigint,
    error         text CHECK (length(error) <= 2000),
    run_id        text,
    details       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object' AND length(details::text) <= 20000),
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash          bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_entry_at ON audit.entry (at);
CREATE INDEX audit_entry_operation ON audit.entry (operation, entry_no);
COMMENT ON TABLE audit.entry IS 'The audit log, append-only. Numbers have no gaps; `twezah audit verify` checks numbers and hashes. No secrets, no personal data.';
COMMENT ON COLUMN audit.entry.entry_no IS 'Position in the chain, from 1, without gaps.';
COMMENT ON COLUMN audit.entry.at IS 'When it was written, just before its transaction was committed; never earlier than the entry before.';
COMMENT ON COLUMN audit.entry.actor IS 'Who: a user of the operating system, schedule, operator (somebody in Prefect''s UI), an API key''s prefix, or a database user.';
COMMENT ON COLUMN audit.entry.operation IS 'What, e.g. sync, webhooks, key.create, points.adjust, settings.changed, export, member.erase.';
COMMENT ON COLUMN audit.entry.status IS 'success, error, or pending (it began; its end is an entry of its own).';
COMMENT ON COLUMN audit.entry.subject IS 'What it was done to: a connection, member, key, deployment.';
COMMENT ON COLUMN audit.entry.system IS 'Billing system, where one is concerned.';
COMMENT ON COLUMN audit.entry.account IS 'Account at the billing system.';
COMMENT ON COLUMN audit.entry.records IS 'Records processed.';
COMMENT ON COLUMN audit.entry.points IS 'Points posted by it; negative: taken.';
COMMENT ON COLUMN audit.entry.error IS 'Why it failed.';
COMMENT ON COLUMN audit.entry.run_id IS 'Prefect flow run, or command.';
COMMENT ON COLUMN audit.entry.details IS 'More of it: numbers of the rows it is about, names of settings that changed.';
COMMENT ON COLUMN audit.entry.previous_hash IS 'Hash of the entry before; zeros for the first.';
COMMENT ON COLUMN audit.entry.hash IS 'SHA-256 over previous_hash and all other columns, in the form that audit.content gives them.';

CREATE UNLOGGED TABLE audit.pending (
    pending_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor         text NOT NULL,
    operation     text NOT NULL,
    status        text NOT NULL,
    subject       text NOT NULL,
    system        text,
    account       text,
    records       bigint,
    points        bigint,
    error         text,
    run_id        text,
    details       jsonb NOT NULL
);
COMMENT ON TABLE audit.pending IS 'Entries of a transaction under way. Always empty for others: they join the chain before the commit.';
COMMENT ON COLUMN audit.pending.pending_no IS 'Order within the transaction.';
COMMENT ON COLUMN audit.pending.actor IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.operation IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.status IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.subject IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.system IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.account IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.records IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.points IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.error IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.run_id IS 'As in audit.entry.';
COMMENT ON COLUMN audit.pending.details IS 'As in audit.entry.';

-- Each value with its length before it, so that no two rows have the same text; null is a minus sign.
CREATE FUNCTION audit.field(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value IS NULL THEN '-' ELSE octet_length(value) || ':' || value END || E'\n'
$$;
COMMENT ON FUNCTION audit.field(text) IS 'A value in the canonical text of an entry: length in bytes, colon, value; null is a minus sign.';
CREATE FUNCTION audit.content(e audit.entry) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT convert_to(
        audit.field(e.entry_no::text) || audit.field((extract(epoch FROM e.at) * 1000000)::bigint::text) || audit.field(e.actor)
        || audit.field(e.operation) || audit.field(e.status) || audit.field(e.subject) || audit.field(e.system)
        || audit.field(e.account) || audit.field(e.records::text) || audit.field(e.points::text) || audit.field(e.error)
        || audit.field(e.run_id) || audit.field(e.details::text), 'UTF8')
$$;
COMMENT ON FUNCTION audit.content(audit.entry) IS 'What the hash of an entry covers, beside the hash before it. `twezah audit verify` computes the same without this function.';

CREATE FUNCTION audit.chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last audit.entry;
BEGIN
    -- Until the transaction ends, which is at once: this runs as the last thing before a commit.
    PERFORM pg_advisory_xact_lock(hashtextextended('audit.entry', 6));
    SELECT * INTO last FROM audit.entry ORDER BY entry_no DESC LIMIT 1;
    NEW.entry_no := coalesce(last.entry_no, 0) + 1;
    NEW.at := greatest(clock_timestamp(), last.at);
    NEW.previous_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
    NEW.hash := sha256(NEW.previous_hash || audit.content(NEW));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION audit.chain() IS 'Gives a new entry its number, time and hashes, whatever it was said to have; one writer at a time.';
CREATE TRIGGER entry_chained BEFORE INSERT ON audit.entry FOR EACH ROW EXECUTE FUNCTION audit.chain();
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.entry
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

CREATE FUNCTION audit.seal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.entry (actor, operation, status, subject, system, account, records, points, error, run_id, details)
    VALUES (NEW.actor, NEW.operation, NEW.status, NEW.subject, NEW.system, NEW.account, NEW.records, NEW.points, NEW.error, NEW.run_id, NEW.details);
    DELETE FROM audit.pending WHERE pending_no = NEW.pending_no;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.seal() IS 'Appends a pending entry to the chain.';
CREATE CONSTRAINT TRIGGER pending_sealed AFTER INSERT ON audit.pending
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.seal();

-- The second guard: whoever records should have left phone numbers out already.
CREATE FUNCTION audit.masked(said text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(said, '\+[0-9][0-9 ().-]{6,20}[0-9]', '+(masked)', 'g')
$$;
COMMENT ON FUNCTION audit.masked(text) IS 'A text without international phone numbers.';

CREATE FUNCTION audit.actor() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT left(coalesce(nullif(current_setting('twezah.actor', true), ''), 'database user ' || session_user), 200)
$$;
COMMENT ON FUNCTION audit.actor() IS 'Who acts in this session, as the program said; or else the database user.';

CREATE FUNCTION audit.record(
    of_operation text, of_status text, of_subject text, of_details jsonb DEFAULT '{}', of_system text DEFAULT NULL, of_account text DEFAULT NULL,
    of_records bigint DEFAULT NULL, of_points bigint DEFAULT NULL, of_error text DEFAULT NULL, of_run_id text DEFAULT NULL
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO audit.pending (actor, operation, status, subject, system, account, records, points, error, run_id, details)
    VALUES (audit.actor(), of_operation, of_status, left(audit.masked(of_subject), 300), of_system, of_account, of_records, of_points,
            left(audit.masked(of_error), 2000), of_run_id,
            CASE WHEN length(of_details::text) <= 20000 THEN audit.masked(jsonb_strip_nulls(of_details)::text)::jsonb
                 ELSE jsonb_build_object('left_out', 'too long') END)
$$;
COMMENT ON FUNCTION audit.record IS 'An entry, written when this transaction is committed.';

CREATE FUNCTION audit.begin() RETURNS void LANGUAGE sql AS $$
    -- What makes the chain of this installation different from any other.
    INSERT INTO audit.entry (actor, operation, status, subject, details)
    SELECT audit.actor(), 'audit.begin', 'success', 'audit log', jsonb_build_object('installation', gen_random_uuid())
    WHERE NOT EXISTS (SELECT FROM audit.entry)
$$;
COMMENT ON FUNCTION audit.begin() IS 'The first entry, unless it is there.';
SELECT audit.begin();

-- Polls: when one begins (or goes on), and how it ended. What webhooks bring is recorded by the run that does it, batch by batch.
CREATE FUNCTION audit.on_sync_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about jsonb := jsonb_build_object('sync_id', NEW.sync_id, 'since', NEW.requested_since, 'until', NEW.requested_until,
        'replay', nullif(EXISTS (SELECT FROM jsonb_object_keys(NEW.streams) k WHERE k LIKE 'replay of %'), false));
    counted jsonb := coalesce(NEW.summary, '{}');
    ended boolean := NEW.state = 'stored' AND NEW.summary IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.summary IS DISTINCT FROM NEW.summary);
BEGIN
    IF NEW.error IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.error IS DISTINCT FROM NEW.error OR OLD.state <> NEW.state) THEN
        PERFORM audit.record('sync', 'error', NEW.system || '/' || NEW.account, about, NEW.system, NEW.account, of_error => NEW.error, of_run_id => NEW.run_id);
    ELSIF ended THEN
        PERFORM audit.record('sync', 'success', NEW.system || '/' || NEW.account,
            about || jsonb_build_object('new', counted -> 'new', 'changed', counted -> 'changed', 'rejected', counted -> 'rejected', 'entries', counted -> 'entries'),
            NEW.system, NEW.account, (counted ->> 'fetched')::bigint, (counted ->> 'points')::bigint, NULL, NEW.run_id);
    ELSIF NEW.state = 'extracting' AND (TG_OP = 'INSERT' OR OLD.run_id <> NEW.run_id OR OLD.state <> 'extracting') THEN
        PERFORM audit.record('sync', 'pending', NEW.system || '/' || NEW.account, about, NEW.system, NEW.account, of_run_id => NEW.run_id);
    ELSIF NEW.state = 'abandoned' AND TG_OP = 'UPDATE' AND OLD.state <> 'abandoned' THEN
        PERFORM audit.record('sync', 'error', NEW.system || '/' || NEW.account, about, NEW.system, NEW.account,
            of_error => 'abandoned: a later synchronisation began anew', of_run_id => NEW.run_id);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_sync_run() IS 'Records that a poll began, and how it ended.';
CREATE TRIGGER sync_run_audited AFTER INSERT OR UPDATE ON billing.sync_run
    FOR EACH ROW WHEN (NEW.source = 'poll') EXECUTE FUNCTION audit.on_sync_run();

-- What people decide about members. Reasons are free text and stay where they are; the numbers here lead to them.
CREATE FUNCTION audit.on_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(CASE WHEN NEW.voids_id IS NULL THEN 'points.adjust' ELSE 'points.void' END, 'success', 'member ' || NEW.member_id,
        jsonb_build_object('adjustment_id', NEW.adjustment_id, 'voids_id', NEW.voids_id, 'author', NEW.author),
        of_records => 1, of_points => NEW.points, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_adjustment() IS 'Records points given or taken by hand.';
CREATE TRIGGER adjustment_audited AFTER INSERT ON loyalty.adjustment FOR EACH ROW EXECUTE FUNCTION audit.on_adjustment();

CREATE FUNCTION audit.on_merge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record(CASE WHEN NEW.into_id = NEW.member_id THEN 'member.unmerge' ELSE 'member.merge' END, 'success', 'member ' || NEW.member_id,
        jsonb_build_object('merge_no', NEW.merge_no, 'into', NEW.into_id, 'author', NEW.recorded_by), of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_merge() IS 'Records merges of members, and their undoing.';
CREATE TRIGGER member_merge_audited AFTER INSERT ON loyalty.member_merge FOR EACH ROW EXECUTE FUNCTION audit.on_merge();

CREATE FUNCTION audit.on_phone_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('member.phone', 'success', 'member ' || NEW.member_id,
        jsonb_build_object('change_id', NEW.change_id, 'former_member', NEW.former_member_id, 'author', NEW.author), of_records => 1, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_phone_change() IS 'Records that a member has another phone, without the numbers.';
CREATE TRIGGER phone_change_audited AFTER INSERT ON loyalty.phone_change FOR EACH ROW EXECUTE FUNCTION audit.on_phone_change();

CREATE FUNCTION audit.on_tiers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE many bigint; one bigint;
BEGIN
    SELECT count(DISTINCT member_id), min(member_id) INTO many, one FROM changed;
    IF many > 0 THEN
        PERFORM audit.record('tiers', 'success', CASE WHEN many = 1 THEN 'member ' || one ELSE 'members' END, of_records => many);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_tiers() IS 'Records that tiers were set, once per statement.';
CREATE TRIGGER member_tier_audited AFTER INSERT ON loyalty.member_tier
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.on_tiers();

-- The rules.
CREATE FUNCTION audit.on_program_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('program.change', 'success', 'points program',
        jsonb_build_object('change_id', NEW.change_id, 'versions', NEW.versions, 'reaches', NEW.reaches, 'recomputed', NEW.recomputed, 'author', NEW.author),
        of_records => NEW.members, of_points => CASE WHEN NEW.recomputed THEN NEW.points END, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_program_change() IS 'Records changes of the rules.';
CREATE TRIGGER program_change_audited AFTER INSERT ON loyalty.program_change FOR EACH ROW EXECUTE FUNCTION audit.on_program_change();

CREATE FUNCTION audit.on_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE added jsonb := to_jsonb(NEW);
BEGIN
    PERFORM audit.record('program.version', 'success', coalesce('promotion ' || (added ->> 'promotion_id'), 'points program'),
        jsonb_build_object('version', added -> 'version', 'valid_from', added -> 'valid_from', 'valid_to', added -> 'valid_to'));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_version() IS 'Records every version of the program and of promotions, also one entered by SQL.';
CREATE TRIGGER program_audited AFTER INSERT ON loyalty.program FOR EACH ROW EXECUTE FUNCTION audit.on_version();
CREATE TRIGGER promotion_audited AFTER INSERT ON loyalty.promotion FOR EACH ROW EXECUTE FUNCTION audit.on_version();

CREATE FUNCTION audit.on_fx_rates() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE many bigint; about jsonb; run text;
BEGIN
    SELECT count(*), jsonb_build_object('currencies', jsonb_agg(DISTINCT currency), 'first_day', min(valid_on), 'last_day', max(valid_until)), min(run_id)
    INTO many, about, run FROM changed;
    IF many > 0 THEN PERFORM audit.record('fx.load', 'success', 'exchange rates', about, of_records => many, of_run_id => run); END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_fx_rates() IS 'Records that exchange rates were loaded, once per statement.';
CREATE TRIGGER fx_rate_audited AFTER INSERT ON loyalty.fx_rate
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit.on_fx_rates();

CREATE FUNCTION audit.on_award_policy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('policy.change', 'success', NEW.system || '/' || NEW.account,
        jsonb_build_object('policy_no', NEW.policy_no, 'award_when', NEW.award_when, 'valid_from', NEW.valid_from), NEW.system, NEW.account, of_run_id => NEW.run_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_award_policy() IS 'Records that the sales of an account earn at another moment.';
CREATE TRIGGER award_policy_audited AFTER INSERT ON billing.award_policy FOR EACH ROW EXECUTE FUNCTION audit.on_award_policy();

-- What opens something: keys, addresses, secrets, consents. Never the key, the whole address, the secret or the token.
CREATE FUNCTION audit.on_api_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key billing.api_key := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    what text := 'key.change';
BEGIN
    IF TG_OP = 'INSERT' THEN what := CASE WHEN NEW.rotated_from IS NULL THEN 'key.create' ELSE 'key.rotate' END;
    ELSIF TG_OP = 'DELETE' THEN what := 'key.delete';
    ELSIF NEW.revoked_at IS NOT NULL AND OLD.revoked_at IS NULL THEN what := 'key.revoke';
    END IF;
    PERFORM audit.record(what, 'success', 'key ' || key.prefix, jsonb_build_object('key_no', key.key_no, 'scopes', to_jsonb(key.scopes),
        'expires_at', key.expires_at, 'per_minute', key.requests_per_minute, 'replaces', key.rotated_from));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_api_key() IS 'Records what happens to API keys, but not their use.';
CREATE TRIGGER api_key_audited AFTER INSERT OR DELETE ON billing.api_key FOR EACH ROW EXECUTE FUNCTION audit.on_api_key();
CREATE TRIGGER api_key_change_audited AFTER UPDATE ON billing.api_key FOR EACH ROW
    WHEN ((OLD.prefix, OLD.key_sha256, OLD.scopes, OLD.requests_per_minute, OLD.expires_at, OLD.revoked_at)
        IS DISTINCT FROM (NEW.prefix, NEW.key_sha256, NEW.scopes, NEW.requests_per_minute, NEW.expires_at, NEW.revoked_at))
    EXECUTE FUNCTION audit.on_api_key();

CREATE FUNCTION audit.on_endpoint() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    endpoint billing.webhook_endpoint := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    changed jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_agg(n.key ORDER BY n.key) INTO changed
        FROM jsonb_each(to_jsonb(NEW)) n WHERE n.value IS DISTINCT FROM to_jsonb(OLD) -> n.key;
        IF changed IS NULL THEN RETURN NULL; END IF;
    END IF;
    PERFORM audit.record(
        CASE WHEN TG_OP = 'INSERT' THEN 'endpoint.create' WHEN TG_OP = 'DELETE' THEN 'endpoint.delete'
             WHEN changed ? 'disabled_at' AND NEW.disabled_at IS NOT NULL THEN 'endpoint.disable' ELSE 'endpoint.change' END,
        'success', 'endpoint ' || left(endpoint.endpoint_id, 8),
        jsonb_build_object('endpoint_no', endpoint.endpoint_no, 'connection', endpoint.connection, 'changed', changed), endpoint.system, endpoint.account);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_endpoint() IS 'Records what happens to webhook endpoints.';
CREATE TRIGGER webhook_endpoint_audited AFTER INSERT OR UPDATE OR DELETE ON billing.webhook_endpoint
    FOR EACH ROW EXECUTE FUNCTION audit.on_endpoint();

CREATE FUNCTION audit.on_secret() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('endpoint.secret', 'success', 'endpoint ' || left(p.endpoint_id, 8),
        jsonb_build_object('endpoint_no', NEW.endpoint_no, 'secret_no', NEW.secret_no), p.system, p.account)
    FROM billing.webhook_endpoint p WHERE p.endpoint_no = NEW.endpoint_no;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_secret() IS 'Records that a signing secret was entered.';
CREATE TRIGGER webhook_secret_audited AFTER INSERT ON billing.webhook_secret FOR EACH ROW EXECUTE FUNCTION audit.on_secret();

CREATE FUNCTION audit.on_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.record('connection.login', 'success', NEW.system || '/' || NEW.account, '{}', NEW.system, NEW.account);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.on_token() IS 'Records the first token of new credentials: a consent, or a login. Renewals are not recorded.';
CREATE TRIGGER connector_token_audited AFTER INSERT ON billing.connector_token FOR EACH ROW EXECUTE FUNCTION audit.on_token();

-- What was seen of Prefect's settings, so that a change is noticed.
CREATE TABLE audit.seen (
    kind       text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    state      jsonb NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE audit.seen IS 'Blocks, deployments and runs in Prefect as they were seen last; what differs at the next look is recorded in audit.entry.';
COMMENT ON COLUMN audit.seen.kind IS 'block, deployment, or runs.';
COMMENT ON COLUMN audit.seen.name IS 'Which.';
COMMENT ON COLUMN audit.seen.state IS 'Per setting its value (numbers, switches, intervals) or a keyed fingerprint (texts, secrets).';
COMMENT ON COLUMN audit.seen.seen_at IS 'When it was seen so first.';

-- Analysts: everything but the authors' names.
CREATE VIEW analytics.audit AS
SELECT entry_no, at, actor, operation, status, subject, system, account, records, points, error, run_id, details - 'author' AS details
FROM audit.entry;
COMMENT ON VIEW analytics.audit IS 'One row per operation: who did what, when, with what result.';
COMMENT ON COLUMN analytics.audit.entry_no IS 'Position in the log, without gaps.';
COMMENT ON COLUMN analytics.audit.at IS 'When.';
COMMENT ON COLUMN analytics.audit.actor IS 'Who.';
COMMENT ON COLUMN analytics.audit.operation IS 'What, e.g. sync, webhooks, points.adjust.';
COMMENT ON COLUMN analytics.audit.status IS 'success, error, or pending (it began).';
COMMENT ON COLUMN analytics.audit.subject IS 'What it was done to.';
COMMENT ON COLUMN analytics.audit.system IS 'Billing system.';
COMMENT ON COLUMN analytics.audit.account IS 'Account at the billing system.';
COMMENT ON COLUMN analytics.audit.records IS 'Records processed.';
COMMENT ON COLUMN analytics.audit.points IS 'Points posted; negative: taken.';
COMMENT ON COLUMN analytics.audit.error IS 'Why it failed.';
COMMENT ON COLUMN analytics.audit.run_id IS 'Prefect flow run, or command.';
COMMENT ON COLUMN analytics.audit.details IS 'More of it.';
GRANT SELECT ON analytics.audit TO analyst;
