-- The API registers members, corrects what is known of them, and spends points: it may add to those
-- tables, which are append-only. Sales, awards, corrections by hand and consents are not its own.
GRANT INSERT (phone), UPDATE (phone) ON loyalty.member TO twezah_api;
GRANT INSERT ON loyalty.member_tier, loyalty.referral, loyalty.member_merge, loyalty.phone_change,
    loyalty.redemption, loyalty.redemption_step TO twezah_api;

-- What follows from such a row (locks, marks for the next award, the feed) is the database's work,
-- whoever adds the row: nobody needs to be able to write a change of the feed himself.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOREACH ours IN ARRAY ARRAY[
        'loyalty.lock_owner(bigint)', 'loyalty.lock_merging()', 'loyalty.check_merge()',
        'loyalty.check_redemption_step()', 'loyalty.mark_dirty(bigint[])',
        'loyalty.note_change(text, bigint, jsonb, timestamptz)', 'loyalty.note_redemption_steps()',
        'loyalty.publish_changes(integer)'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, pg_temp',
                       ours);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', ours);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO twezah_api, twezah_worker', ours);
    END LOOP;
END
$$;
