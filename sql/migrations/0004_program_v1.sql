-- The program that the product's documentation promises: 10 points per currency unit; Lead 1x, Silver 1.2x, Gold 1.5x, Platinum 2x.
-- Currencies are named one by one: an amount in a currency that nobody decided on is rejected, never guessed.
INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, entry_tier, rounding, basis, created_by)
SELECT 1, '-infinity', jsonb_object_agg(code, 100000),
       '{"lead": 10000, "silver": 12000, "gold": 15000, "platinum": 20000}', 'lead', 'down', 'total', 'installation'
FROM unnest(string_to_array(
    'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF '
    'CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD '
    'HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL '
    'LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR '
    'PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP '
    'TRY TTD TWD TZS UAH UGX USD UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG', ' ')) AS code;

-- A version that awards were computed with is history; a change is a new version.
CREATE TRIGGER program_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.program
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.refuse_change();

-- A sale that had no rate is tried again when a version is entered: the reject says so, and nobody has to touch the sale.
CREATE FUNCTION loyalty.mark_rejected_awards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loyalty.member_dirty (member_id)
    SELECT DISTINCT i.member_id FROM billing.reject r JOIN billing.invoice i USING (external_id, account, system)
    WHERE r.stream = 'awards' AND r.resolved_at IS NULL AND i.member_id IS NOT NULL ORDER BY i.member_id
    ON CONFLICT (member_id) DO UPDATE SET marks = member_dirty.marks + 1;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.mark_rejected_awards() IS 'Marks members whose sales had no rate, for the next award step.';
CREATE TRIGGER program_marks AFTER INSERT ON loyalty.program
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.mark_rejected_awards();
