-- Which columns hold data of people: docs/data-map.md is made of these comments.
COMMENT ON COLUMN billing.raw_page.request IS
    'Personal data where a customer was looked up by number. Method, path and parameters that'
    ' were asked (never credentials).';
COMMENT ON COLUMN billing.customer.external_id IS
    'Pseudonym. Customer number at the billing system.';
COMMENT ON COLUMN billing.invoice.customer_external_id IS
    'Pseudonym. Customer number at the billing system.';
COMMENT ON COLUMN billing.reject.record_key IS
    'Personal data where a row of a file names a person. Recognises the record when it is '
    'rejected again: its id; for a row of a file without an id, the file''s name and what the'
    ' row holds.';
COMMENT ON COLUMN billing.reject.problems IS
    'Personal data, masked. Each field that failed: field, source path, reason, masked example.';
COMMENT ON COLUMN billing.reject.customer_external_id IS
    'Pseudonym. Customer number at the billing system, where the record could be read so far:'
    ' once a phone is known of it, the record is tried again.';
COMMENT ON COLUMN billing.webhook_event.headers IS
    'Personal data in some laws. Headers that reading it again needs; never signatures or '
    'credentials.';
COMMENT ON COLUMN billing.http_attempt.source_network IS
    'Personal data in some laws. Network of the sender: /24 (IPv6: /48), no single address.';
COMMENT ON COLUMN loyalty.member.timezone IS
    'Personal data. IANA time zone of the customer, for promotions that look at their clock; '
    'null: the program''s.';
COMMENT ON COLUMN loyalty.member_tier.recorded_by IS
    'Personal data of staff. Who entered it.';
COMMENT ON COLUMN loyalty.referral.recorded_by IS
    'Personal data of staff. Who entered it.';
COMMENT ON COLUMN loyalty.member_merge.recorded_by IS
    'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.phone_change.author IS
    'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.adjustment.author IS
    'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.program_change.author IS
    'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.member_erasure.author IS
    'Personal data of staff. Who decided it.';
COMMENT ON COLUMN loyalty.sale_precedence.author IS
    'Personal data of staff. Who decided it.';
COMMENT ON COLUMN audit.entry.actor IS
    'Personal data of staff. Who: a user of the operating system, schedule, operator '
    '(somebody in Prefect''s UI), an API key''s prefix, or a database user.';
