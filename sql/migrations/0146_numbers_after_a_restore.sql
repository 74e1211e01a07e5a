-- A backup ends before changes that the original has published. Were their numbers given again, the
-- loyalty app would take new changes for those it knows.
CREATE FUNCTION loyalty.skip_change_numbers() RETURNS bigint LANGUAGE sql AS $$
    SELECT setval(pg_get_serial_sequence('loyalty.change', 'change_no'),
                  coalesce(max(change_no), 0) + 1000000000)
    FROM loyalty.change
$$;
COMMENT ON FUNCTION loyalty.skip_change_numbers() IS
    'Leaves out a thousand million numbers of the feed, after a backup was restored: whoever had '
    'read on in the original is told so.';
REVOKE EXECUTE ON FUNCTION loyalty.skip_change_numbers() FROM PUBLIC;
