-- What is left of a rate limit, for the headers of an answer.
DROP FUNCTION billing.take_tokens(text, integer, double precision, double precision);
CREATE FUNCTION billing.take_tokens(
    of_subject text, wanted integer, per_second float8, burst float8
) RETURNS TABLE (granted integer, wait_seconds float8, tokens_left float8) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := clock_timestamp();
    had float8;
BEGIN
    INSERT INTO billing.rate_bucket AS b (subject, tokens, filled_at)
    VALUES (of_subject, burst, clock)
    ON CONFLICT (subject) DO UPDATE SET
        tokens = least(burst, b.tokens + per_second
            * greatest(0, extract(epoch FROM excluded.filled_at - b.filled_at))),
        filled_at = greatest(b.filled_at, excluded.filled_at)
    RETURNING b.tokens INTO had;
    granted := greatest(0, least(wanted, floor(had)::integer));
    wait_seconds := CASE WHEN granted > 0 THEN 0 ELSE (1 - had) / per_second END;
    tokens_left := had - granted;
    IF granted > 0 THEN
        UPDATE billing.rate_bucket SET tokens = tokens - granted WHERE subject = of_subject;
    END IF;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION billing.take_tokens IS
    'Takes up to so many requests from a bucket: how many were granted, or 0 and the seconds until '
    'one is; and what is left in it.';
