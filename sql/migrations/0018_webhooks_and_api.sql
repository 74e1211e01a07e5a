-- What comes in over HTTP: webhook endpoints and their secrets, events stored before they are acknowledged, API keys, rate limits,
-- repeated requests, and one row for every attempt.

CREATE FUNCTION billing.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% keeps its history: % is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
COMMENT ON FUNCTION billing.refuse_change() IS 'Refuses the statement: history is kept as it was written.';

CREATE TABLE billing.webhook_endpoint (
    endpoint_no    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id    text COLLATE "C" NOT NULL UNIQUE CHECK (endpoint_id ~ '^[A-Za-z0-9_-]{22,64}$'),
    system         text COLLATE "C" NOT NULL,
    connection     text COLLATE "C" NOT NULL,
    account        text COLLATE "C",
    options        jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    allowed_networks cidr[] NOT NULL DEFAULT '{}',
    body_bytes_max integer NOT NULL DEFAULT 1048576 CHECK (body_bytes_max BETWEEN 1024 AND 16777216),
    events_per_minute integer NOT NULL DEFAULT 60000 CHECK (events_per_minute BETWEEN 1 AND 1000000),
    is_default     boolean NOT NULL DEFAULT false,
    handshake      text NOT NULL DEFAULT 'none' CHECK (handshake IN ('none', 'awaited', 'seen', 'confirmed')),
    created_at     timestamptz NOT NULL DEFAULT now(),
    disabled_at    timestamptz
);
CREATE UNIQUE INDEX webhook_endpoint_default ON billing.webhook_endpoint (is_default) WHERE is_default AND disabled_at IS NULL;
COMMENT ON TABLE billing.webhook_endpoint IS 'Where billing systems send webhooks: one unguessable address per connected account.';
COMMENT ON COLUMN billing.webhook_endpoint.endpoint_no IS 'Number of the endpoint; events and attempts refer to it.';
COMMENT ON COLUMN billing.webhook_endpoint.endpoint_id IS 'The unguessable part of its address.';
COMMENT ON COLUMN billing.webhook_endpoint.system IS 'Billing system: decides how its webhooks are signed and read.';
COMMENT ON COLUMN billing.webhook_endpoint.connection IS 'Connection (Prefect block) with which its invoices are fetched and mapped.';
COMMENT ON COLUMN billing.webhook_endpoint.account IS 'Account at the billing system; null: the events name it.';
COMMENT ON COLUMN billing.webhook_endpoint.options IS 'What the system''s declaration leaves open, e.g. signature scheme and header of a custom system. No secrets.';
COMMENT ON COLUMN billing.webhook_endpoint.allowed_networks IS 'Only senders in these networks are heard; empty: all.';
COMMENT ON COLUMN billing.webhook_endpoint.body_bytes_max IS 'Largest body, in bytes.';
COMMENT ON COLUMN billing.webhook_endpoint.events_per_minute IS 'Rate limit of the endpoint.';
COMMENT ON COLUMN billing.webhook_endpoint.is_default IS 'Reached as /api/webhooks/billing as well.';
COMMENT ON COLUMN billing.webhook_endpoint.handshake IS 'none: the vendor has none; awaited: its verification may still come; seen: it came and was stored; confirmed: it was answered.';
COMMENT ON COLUMN billing.webhook_endpoint.created_at IS 'When it was made.';
COMMENT ON COLUMN billing.webhook_endpoint.disabled_at IS 'From then on it answers 410; null: in use.';

CREATE TABLE billing.webhook_secret (
    secret_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_no    bigint NOT NULL REFERENCES billing.webhook_endpoint,
    secret_encrypted bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz
);
CREATE INDEX webhook_secret_endpoint ON billing.webhook_secret (endpoint_no);
COMMENT ON TABLE billing.webhook_secret IS 'Signing secrets of an endpoint, encrypted; several are active while one replaces another.';
COMMENT ON COLUMN billing.webhook_secret.secret_no IS 'Number of the secret.';
COMMENT ON COLUMN billing.webhook_secret.endpoint_no IS 'Endpoint.';
COMMENT ON COLUMN billing.webhook_secret.secret_encrypted IS 'The secret, encrypted with the installation''s key.';
COMMENT ON COLUMN billing.webhook_secret.created_at IS 'When it was entered.';
COMMENT ON COLUMN billing.webhook_secret.expires_at IS 'Until when signatures made with it are accepted; null: no end.';

CREATE TABLE billing.webhook_event (
    event_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_no    bigint NOT NULL REFERENCES billing.webhook_endpoint,
    dedup_key      text COLLATE "C" NOT NULL CHECK (length(dedup_key) BETWEEN 1 AND 300),
    kind           text NOT NULL,
    headers        jsonb NOT NULL CHECK (jsonb_typeof(headers) = 'object'),
    body_bytes     integer NOT NULL CHECK (body_bytes >= 0),
    body_zstd      bytea NOT NULL,
    source_ip      inet,
    received_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    state          text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'claimed', 'done', 'failed', 'parked')),
    attempts       integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at    timestamptz,
    reason         text,
    sync_id        bigint REFERENCES billing.sync_run,
    run_id         text,
    CONSTRAINT webhook_event_once UNIQUE (endpoint_no, dedup_key),
    CONSTRAINT finished_when_done CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'parked')))
);
-- Bodies are compressed already.
ALTER TABLE billing.webhook_event ALTER COLUMN body_zstd SET STORAGE EXTERNAL;
CREATE INDEX webhook_event_due ON billing.webhook_event (next_attempt_at, event_no) WHERE state IN ('received', 'claimed', 'failed');
CREATE INDEX webhook_event_parked ON billing.webhook_event (endpoint_no, event_no) WHERE state = 'parked';
CREATE INDEX webhook_event_received ON billing.webhook_event (received_at);
COMMENT ON TABLE billing.webhook_event IS 'Webhooks with a valid signature, exactly as received, stored before they are acknowledged. Each is awarded by a run that claims it.';
COMMENT ON COLUMN billing.webhook_event.event_no IS 'Number of the event, in order of arrival.';
COMMENT ON COLUMN billing.webhook_event.endpoint_no IS 'Endpoint it came in at.';
COMMENT ON COLUMN billing.webhook_event.dedup_key IS 'What makes a repeated delivery recognisable: the sender''s event id, or else a fingerprint. Kept for good.';
COMMENT ON COLUMN billing.webhook_event.kind IS 'What it is about, as the sender calls it, e.g. invoice.created.';
COMMENT ON COLUMN billing.webhook_event.headers IS 'Headers that reading it again needs; never signatures or credentials.';
COMMENT ON COLUMN billing.webhook_event.body_bytes IS 'Size of the body before compression, in bytes.';
COMMENT ON COLUMN billing.webhook_event.body_zstd IS 'Personal data. The body, byte for byte, compressed with zstd.';
COMMENT ON COLUMN billing.webhook_event.source_ip IS 'Personal data in some laws. Address of the sender.';
COMMENT ON COLUMN billing.webhook_event.received_at IS 'When it arrived.';
COMMENT ON COLUMN billing.webhook_event.state IS 'received: to be awarded; claimed: a run works on it; done; failed: tried again at next_attempt_at; parked: given up, see reason.';
COMMENT ON COLUMN billing.webhook_event.attempts IS 'How often a run has claimed it.';
COMMENT ON COLUMN billing.webhook_event.next_attempt_at IS 'When it may be claimed (again); of a claimed one, when its claim is taken for lost.';
COMMENT ON COLUMN billing.webhook_event.finished_at IS 'When it was done or parked.';
COMMENT ON COLUMN billing.webhook_event.reason IS 'Why it failed or was parked, without personal data.';
COMMENT ON COLUMN billing.webhook_event.sync_id IS 'Synchronisation that brought it into the ledger.';
COMMENT ON COLUMN billing.webhook_event.run_id IS 'Prefect flow run that claimed it last.';

CREATE TABLE billing.api_key (
    key_no         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix         text COLLATE "C" NOT NULL UNIQUE,
    key_sha256     bytea NOT NULL CHECK (length(key_sha256) = 32),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    scopes         text[] NOT NULL CHECK (cardinality(scopes) > 0),
    requests_per_minute integer NOT NULL DEFAULT 600 CHECK (requests_per_minute BETWEEN 1 AND 1000000),
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    rotated_from   bigint REFERENCES billing.api_key,
    last_used_at   timestamptz,
    revoked_at     timestamptz,
    CHECK (expires_at > created_at)
);
COMMENT ON TABLE billing.api_key IS 'Keys of the HTTP API. The key itself is shown once and not stored.';
COMMENT ON COLUMN billing.api_key.key_no IS 'Number of the key.';
COMMENT ON COLUMN billing.api_key.prefix IS 'Its first characters, by which it is found and named; they open nothing.';
COMMENT ON COLUMN billing.api_key.key_sha256 IS 'SHA-256 of the whole key, which is 256 random bits.';
COMMENT ON COLUMN billing.api_key.name IS 'Who uses it, as the administrator calls it.';
COMMENT ON COLUMN billing.api_key.scopes IS 'What it may do.';
COMMENT ON COLUMN billing.api_key.requests_per_minute IS 'Rate limit of the key.';
COMMENT ON COLUMN billing.api_key.created_at IS 'When it was made.';
COMMENT ON COLUMN billing.api_key.expires_at IS 'When it ends.';
COMMENT ON COLUMN billing.api_key.rotated_from IS 'Key that it replaces; that one works a while longer.';
COMMENT ON COLUMN billing.api_key.last_used_at IS 'When it was last used, to the minute.';
COMMENT ON COLUMN billing.api_key.revoked_at IS 'When it was withdrawn; null: not.';

CREATE TABLE billing.api_request (
    key_no         bigint NOT NULL REFERENCES billing.api_key,
    idempotency_key text COLLATE "C" NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    request_sha256 bytea NOT NULL CHECK (length(request_sha256) = 32),
    started_at     timestamptz NOT NULL DEFAULT now(),
    status         integer,
    answer         jsonb,
    PRIMARY KEY (key_no, idempotency_key),
    CHECK ((status IS NULL) = (answer IS NULL))
);
CREATE INDEX api_request_age ON billing.api_request (started_at);
COMMENT ON TABLE billing.api_request IS 'Requests with an Idempotency-Key: repeated, they get the first one''s answer. Kept for a day.';
COMMENT ON COLUMN billing.api_request.key_no IS 'API key that sent it.';
COMMENT ON COLUMN billing.api_request.idempotency_key IS 'The sender''s name for the request.';
COMMENT ON COLUMN billing.api_request.request_sha256 IS 'Fingerprint of the request: the same name with another request is refused.';
COMMENT ON COLUMN billing.api_request.started_at IS 'When it was first seen.';
COMMENT ON COLUMN billing.api_request.status IS 'HTTP status of the answer; null: under way.';
COMMENT ON COLUMN billing.api_request.answer IS 'The answer.';

-- Not written to the log: after a crash of the server everyone starts with a full bucket.
CREATE UNLOGGED TABLE billing.rate_bucket (
    subject        text COLLATE "C" PRIMARY KEY,
    tokens         float8 NOT NULL,
    filled_at      timestamptz NOT NULL
);
COMMENT ON TABLE billing.rate_bucket IS 'Rate limits of what comes in, shared by all processes of the API: one token bucket per key, endpoint or source.';
COMMENT ON COLUMN billing.rate_bucket.subject IS 'Whose requests are counted; a source''s address as a keyed fingerprint.';
COMMENT ON COLUMN billing.rate_bucket.tokens IS 'Requests left at filled_at.';
COMMENT ON COLUMN billing.rate_bucket.filled_at IS 'When that was.';

CREATE FUNCTION billing.take_tokens(
    of_subject text, wanted integer, per_second float8, burst float8
) RETURNS TABLE (granted integer, wait_seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := clock_timestamp();
    had float8;
BEGIN
    INSERT INTO billing.rate_bucket AS b (subject, tokens, filled_at) VALUES (of_subject, burst, clock)
    ON CONFLICT (subject) DO UPDATE SET
        tokens = least(burst, b.tokens + per_second * greatest(0, extract(epoch FROM excluded.filled_at - b.filled_at))),
        filled_at = greatest(b.filled_at, excluded.filled_at)
    RETURNING b.tokens INTO had;
    granted := greatest(0, least(wanted, floor(had)::integer));
    wait_seconds := CASE WHEN granted > 0 THEN 0 ELSE (1 - had) / per_second END;
    IF granted > 0 THEN UPDATE billing.rate_bucket SET tokens = tokens - granted WHERE subject = of_subject; END IF;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION billing.take_tokens IS 'Takes up to so many requests from a bucket: how many were granted, or 0 and the seconds until one is.';

CREATE TABLE billing.http_attempt (
    attempt_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    method         text NOT NULL,
    route          text NOT NULL,
    status         integer NOT NULL,
    outcome        text NOT NULL,
    endpoint_no    bigint,
    event_no       bigint,
    key_no         bigint,
    source_network cidr,
    body_bytes     bigint,
    elapsed_ms     integer NOT NULL,
    repeats        integer NOT NULL DEFAULT 1 CHECK (repeats >= 1)
) PARTITION BY RANGE (attempt_at);
CREATE INDEX http_attempt_time ON billing.http_attempt (attempt_at);
COMMENT ON TABLE billing.http_attempt IS 'Every request to the HTTP API and every webhook, accepted or refused, without personal data. One partition per month.';
COMMENT ON COLUMN billing.http_attempt.attempt_at IS 'When it was answered.';
COMMENT ON COLUMN billing.http_attempt.method IS 'HTTP method.';
COMMENT ON COLUMN billing.http_attempt.route IS 'Path as documented, with names in place of values; "unknown" for any other.';
COMMENT ON COLUMN billing.http_attempt.status IS 'HTTP status of the answer.';
COMMENT ON COLUMN billing.http_attempt.outcome IS 'stored, duplicate, handshake or ok; or why it was refused, e.g. signature_mismatch, rate_limited.';
COMMENT ON COLUMN billing.http_attempt.endpoint_no IS 'Webhook endpoint, where there is one.';
COMMENT ON COLUMN billing.http_attempt.event_no IS 'Event that was stored.';
COMMENT ON COLUMN billing.http_attempt.key_no IS 'API key, where a valid one was shown.';
COMMENT ON COLUMN billing.http_attempt.source_network IS 'Network of the sender: /24 (IPv6: /48), no single address.';
COMMENT ON COLUMN billing.http_attempt.body_bytes IS 'Size of the request''s body as far as it was read, in bytes.';
COMMENT ON COLUMN billing.http_attempt.elapsed_ms IS 'From the first byte to the answer, milliseconds; of several, the longest.';
COMMENT ON COLUMN billing.http_attempt.repeats IS 'How many attempts the row stands for: equal refusals of the same second are one row.';

CREATE FUNCTION billing.add_attempt_month(of_month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', of_month)::date;
    name text := 'http_attempt_' || to_char(first, 'YYYYMM');
BEGIN
    IF to_regclass('billing.' || name) IS NOT NULL THEN RETURN; END IF;
    -- Bounds in UTC: they must not depend on who adds the month.
    EXECUTE format('CREATE TABLE billing.%I (LIKE billing.http_attempt INCLUDING ALL)', name);
    EXECUTE format('COMMENT ON TABLE billing.%I IS %L', name, 'Attempts of ' || to_char(first, 'YYYY-MM') || ' (UTC).');
    EXECUTE format('ALTER TABLE billing.http_attempt ATTACH PARTITION billing.%I FOR VALUES FROM (%L) TO (%L)',
                   name, first || ' 00:00+00', (first + interval '1 month')::date || ' 00:00+00');
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.%I
                    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change()', name);
END $$;
COMMENT ON FUNCTION billing.add_attempt_month(date) IS 'The partition of http_attempt for the month of a day (UTC), unless it is there.';

CREATE FUNCTION billing.keep_attempt_months(months_kept integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    oldest text := 'http_attempt_' || to_char(today - make_interval(months => months_kept), 'YYYYMM');
    dropped integer := 0;
    name text;
BEGIN
    -- One at a time; a second caller finds it done.
    PERFORM pg_advisory_xact_lock(hashtextextended('billing.http_attempt', 4));
    PERFORM billing.add_attempt_month(today);
    PERFORM billing.add_attempt_month((today + interval '1 month')::date);
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'billing.http_attempt'::regclass AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE billing.%I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
COMMENT ON FUNCTION billing.keep_attempt_months(integer) IS 'Adds the partitions of this month and the next, and drops those older than so many months; returns how many.';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.http_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
SELECT billing.keep_attempt_months(12);

-- Analysts: what came in and how fast it became points; no bodies, no addresses, no keys.
CREATE VIEW analytics.webhook AS
SELECT e.event_no, p.system, p.connection, p.account, e.kind, e.state, e.attempts, e.received_at, e.next_attempt_at, e.finished_at,
       extract(epoch FROM e.finished_at - e.received_at)::numeric(12, 3) AS seconds, e.reason, e.sync_id, e.run_id, e.body_bytes AS size_bytes
FROM billing.webhook_event e JOIN billing.webhook_endpoint p USING (endpoint_no);
COMMENT ON VIEW analytics.webhook IS 'One row per webhook received: what became of it, and how long it took.';
COMMENT ON COLUMN analytics.webhook.event_no IS 'Number of the event, in order of arrival.';
COMMENT ON COLUMN analytics.webhook.system IS 'Billing system.';
COMMENT ON COLUMN analytics.webhook.connection IS 'Connection.';
COMMENT ON COLUMN analytics.webhook.account IS 'Account at the billing system; null: the event names it.';
COMMENT ON COLUMN analytics.webhook.kind IS 'What it is about, e.g. invoice.created.';
COMMENT ON COLUMN analytics.webhook.state IS 'received, claimed, done, failed (tried again) or parked (given up).';
COMMENT ON COLUMN analytics.webhook.attempts IS 'How often a run has claimed it.';
COMMENT ON COLUMN analytics.webhook.received_at IS 'When it arrived.';
COMMENT ON COLUMN analytics.webhook.next_attempt_at IS 'When it is tried (again), unless finished.';
COMMENT ON COLUMN analytics.webhook.finished_at IS 'When it was done or parked.';
COMMENT ON COLUMN analytics.webhook.seconds IS 'From arrival to the end.';
COMMENT ON COLUMN analytics.webhook.reason IS 'Why it failed or was parked.';
COMMENT ON COLUMN analytics.webhook.sync_id IS 'Synchronisation that brought it into the ledger.';
COMMENT ON COLUMN analytics.webhook.run_id IS 'Prefect flow run that claimed it last.';
COMMENT ON COLUMN analytics.webhook.size_bytes IS 'Size of its body, in bytes.';

CREATE VIEW analytics.http_attempt AS
SELECT attempt_at, method, route, status, outcome, endpoint_no, event_no, key_no, elapsed_ms, repeats FROM billing.http_attempt;
COMMENT ON VIEW analytics.http_attempt IS 'Every request to the HTTP API and every webhook, accepted or refused.';
COMMENT ON COLUMN analytics.http_attempt.attempt_at IS 'When it was answered.';
COMMENT ON COLUMN analytics.http_attempt.method IS 'HTTP method.';
COMMENT ON COLUMN analytics.http_attempt.route IS 'Path as documented.';
COMMENT ON COLUMN analytics.http_attempt.status IS 'HTTP status.';
COMMENT ON COLUMN analytics.http_attempt.outcome IS 'stored, duplicate, handshake or ok; or why it was refused.';
COMMENT ON COLUMN analytics.http_attempt.endpoint_no IS 'Number of the webhook endpoint.';
COMMENT ON COLUMN analytics.http_attempt.event_no IS 'Event that was stored.';
COMMENT ON COLUMN analytics.http_attempt.key_no IS 'Number of the API key.';
COMMENT ON COLUMN analytics.http_attempt.elapsed_ms IS 'Milliseconds to the answer.';
COMMENT ON COLUMN analytics.http_attempt.repeats IS 'How many attempts the row stands for.';
GRANT SELECT ON analytics.webhook, analytics.http_attempt TO analyst;
