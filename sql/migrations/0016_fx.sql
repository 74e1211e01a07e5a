-- Exchange rates, for programs that convert sales to a base currency.
CREATE TABLE loyalty.fx_rate (
    rate_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    currency      text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    base_currency text COLLATE "C" NOT NULL CHECK (base_currency ~ '^[A-Z]{3}$'),
    valid_on      date NOT NULL CHECK (isfinite(valid_on)),
    valid_until   date NOT NULL,
    rate          numeric NOT NULL CHECK (rate > 0 AND rate < 1000000000 AND rate = round(rate, 9)),
    source        text NOT NULL CHECK (btrim(source) <> '' AND length(source) <= 200),
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    run_id        text NOT NULL,
    CHECK (currency <> base_currency),
    CHECK (valid_until >= valid_on AND valid_until <= valid_on + 366)
);
CREATE INDEX fx_rate_day ON loyalty.fx_rate (base_currency, currency, valid_on, rate_id);
COMMENT ON TABLE loyalty.fx_rate IS 'Exchange rates, append-only. For a day the one with the latest valid_on counts, and of those the last entered; a day without one has none.';
COMMENT ON COLUMN loyalty.fx_rate.rate_id IS 'Order of entry.';
COMMENT ON COLUMN loyalty.fx_rate.currency IS 'Currency of the sale, ISO 4217.';
COMMENT ON COLUMN loyalty.fx_rate.base_currency IS 'Currency it is converted to.';
COMMENT ON COLUMN loyalty.fx_rate.valid_on IS 'First day, in the program''s time zone.';
COMMENT ON COLUMN loyalty.fx_rate.valid_until IS 'Last day: a weekend''s days belong to the rate of the Friday only if its source says so.';
COMMENT ON COLUMN loyalty.fx_rate.rate IS 'Units of base_currency for one unit of currency; nine decimals at most.';
COMMENT ON COLUMN loyalty.fx_rate.source IS 'Who says so.';
COMMENT ON COLUMN loyalty.fx_rate.recorded_at IS 'When it was entered.';
COMMENT ON COLUMN loyalty.fx_rate.run_id IS 'Prefect flow run or command that entered it.';
CREATE TRIGGER fx_rate_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.fx_rate
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

-- A sale that waited for its rate gets its points; one that was converted at another rate is corrected. A day's slack on both
-- sides covers every time zone.
CREATE FUNCTION loyalty.mark_fx_rate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM loyalty.mark_dirty(ARRAY(
        SELECT DISTINCT i.member_id
        FROM (SELECT currency, base_currency, min(valid_on) AS first_day, max(valid_until) AS last_day FROM changed GROUP BY 1, 2) c
        JOIN billing.invoice i ON i.currency = c.currency
            AND i.issued_at >= (c.first_day - 1)::timestamp AT TIME ZONE 'UTC' AND i.issued_at < (c.last_day + 2)::timestamp AT TIME ZONE 'UTC'
        WHERE i.member_id IS NOT NULL AND EXISTS (
            SELECT FROM loyalty.program p WHERE p.base_currency = c.base_currency AND NOT p.base_rate_bps ? c.currency)));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_fx_rate() IS 'Marks members with sales in the currencies and days of new exchange rates, for the next award step.';
CREATE TRIGGER fx_rate_marks AFTER INSERT ON loyalty.fx_rate
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_fx_rate();

GRANT SELECT ON loyalty.fx_rate TO analyst;
