-- One consent may open several accounts, and its refresh token works for one renewal only: connections that began with
-- the same credentials share one chain of tokens, whatever their accounts.
DELETE FROM billing.connector_token t USING billing.connector_token newer
WHERE newer.system = t.system AND newer.seed_digest = t.seed_digest
  AND (newer.refreshed_at, newer.account) > (t.refreshed_at, t.account);
ALTER TABLE billing.connector_token DROP CONSTRAINT connector_token_pkey, ADD PRIMARY KEY (system, seed_digest);
COMMENT ON COLUMN billing.connector_token.account IS 'Account whose connection renewed it last; others may use it too.';

-- A vendor counts the requests of an account, whichever worker sends them. These two tables are not written to the log:
-- after a crash of the server they are empty, and the vendor's own 429 says what is left.
CREATE UNLOGGED TABLE billing.api_call (
    call_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system      text COLLATE "C" NOT NULL,
    account     text COLLATE "C" NOT NULL,
    answered    boolean NOT NULL DEFAULT false,
    counts_from timestamptz NOT NULL
);
CREATE INDEX api_call_account ON billing.api_call (system, account, counts_from) INCLUDE (answered);
COMMENT ON TABLE billing.api_call IS 'Requests sent to the billing systems within their longest limit, of all workers. Emptied by itself.';
COMMENT ON COLUMN billing.api_call.call_id IS 'Number of the request.';
COMMENT ON COLUMN billing.api_call.system IS 'Billing system.';
COMMENT ON COLUMN billing.api_call.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.api_call.answered IS 'Whether the request has ended.';
COMMENT ON COLUMN billing.api_call.counts_from IS 'When it ended: it counts until a window''s length later. Not answered: when it is taken for lost.';

CREATE UNLOGGED TABLE billing.api_rest (
    system     text COLLATE "C" NOT NULL,
    account    text COLLATE "C" NOT NULL,
    rest_until timestamptz NOT NULL,
    PRIMARY KEY (system, account)
);
COMMENT ON TABLE billing.api_rest IS 'Accounts whose billing system asked all of us to wait.';
COMMENT ON COLUMN billing.api_rest.system IS 'Billing system.';
COMMENT ON COLUMN billing.api_rest.account IS 'Account at the billing system.';
COMMENT ON COLUMN billing.api_rest.rest_until IS 'Nobody asks before.';

CREATE FUNCTION billing.api_enter(
    of_system text, of_account text, counts int[], window_seconds float8[], at_once int, lease_seconds float8
) RETURNS TABLE (entered bigint, wait_seconds float8) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz;
    used bigint;
    free_at timestamptz;
BEGIN
    -- One at a time per account; each statement below sees what the one before us did.
    PERFORM pg_advisory_xact_lock(hashtextextended(of_system || '/' || of_account, 3));
    clock := clock_timestamp();
    entered := 0;
    SELECT greatest(0, extract(epoch FROM r.rest_until - clock)) INTO wait_seconds
    FROM billing.api_rest r WHERE r.system = of_system AND r.account = of_account;
    wait_seconds := coalesce(wait_seconds, 0);
    SELECT count(*) INTO used FROM billing.api_call c
    WHERE c.system = of_system AND c.account = of_account AND c.counts_from > clock AND NOT c.answered;
    IF used >= at_once THEN wait_seconds := greatest(wait_seconds, 0.05); END IF;
    FOR n IN 1 .. cardinality(counts) LOOP
        SELECT count(*) INTO used FROM billing.api_call c
        WHERE c.system = of_system AND c.account = of_account
          AND c.counts_from > clock - make_interval(secs => window_seconds[n]);
        IF used >= counts[n] THEN
            SELECT c.counts_from INTO free_at FROM billing.api_call c
            WHERE c.system = of_system AND c.account = of_account
              AND c.counts_from > clock - make_interval(secs => window_seconds[n])
            ORDER BY c.counts_from OFFSET used - counts[n] LIMIT 1;
            wait_seconds := greatest(wait_seconds, 0.001, window_seconds[n] + extract(epoch FROM least(free_at, clock) - clock));
        END IF;
    END LOOP;
    IF wait_seconds = 0 THEN
        INSERT INTO billing.api_call (system, account, counts_from)
        VALUES (of_system, of_account, clock + make_interval(secs => lease_seconds)) RETURNING call_id INTO entered;
        IF entered % 100 = 0 THEN
            DELETE FROM billing.api_call c WHERE c.system = of_system AND c.account = of_account
              AND c.counts_from < clock - make_interval(secs => (SELECT max(s) FROM unnest(window_seconds) s));
        END IF;
    END IF;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION billing.api_enter IS 'Counts a request in: its number and 0, or 0 and the seconds until it is worth asking again.';
