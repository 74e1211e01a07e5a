-- Comments for what is not obvious: columns whose meaning took a look at the code, and indexes that
-- are also rules. No table changes.

-- Synchronisations and raw pages.
COMMENT ON COLUMN billing.sync_run.streams IS
    'Per list of the vendor, as JSON: the window that is read, and whether its pages are all '
    'stored. An interrupted run continues by it.';
COMMENT ON COLUMN billing.sync_run.source IS
    'poll: the vendor''s lists were read, and cursors moved. webhook: the vendor announced the '
    'sales, and no cursor moved.';
COMMENT ON COLUMN billing.raw_page.page_id IS
    'Number of the page; invoices and rejects refer to it. A higher number was stored later.';
COMMENT ON COLUMN billing.raw_page.next_request IS
    'The request for the page after this one: an interrupted extraction continues with it. '
    'Null: this is the last page.';
COMMENT ON COLUMN billing.raw_page.asked_at IS
    'When the request was sent; fetched_at is when the answer had arrived. '
    'Null: not recorded (pages of older releases), read as fetched_at.';
COMMENT ON COLUMN billing.sync_cursor.cursor_at IS
    'Every change at the vendor before this instant is stored. '
    'The next read begins an overlap earlier, because vendors'' indexes lag.';

-- Sales.
COMMENT ON COLUMN billing.invoice.page_id IS
    'Raw page of the stored version. With record_no it is the key of the sale''s lines.';
COMMENT ON COLUMN billing.invoice.updated_at IS
    'Last change at the vendor, in the vendor''s time. '
    'Where that time was in the future when it was read: the time of reading (see claimed_at).';
COMMENT ON COLUMN billing.invoice.claimed_at IS
    'The vendor''s time of change where it cannot be right, because it was in the future. '
    'Null for nearly all sales.';
COMMENT ON COLUMN billing.invoice.seen_page_id IS
    'Raw page that says that the sale is void, where that is not the page of the sale itself: a '
    'list of deletions, or the newest page when a deletion came without one. Null otherwise.';
COMMENT ON COLUMN billing.invoice_line.page_id IS
    'Raw page of the sale. With record_no it names the sale: join billing.invoice on both.';
COMMENT ON COLUMN billing.pushed_document.by_number IS
    'Whether the event named the document by its printed number. '
    'If a list later shows the document''s id, this sale becomes void and counts under the id.';
COMMENT ON COLUMN billing.deleted_document.deleted_at IS
    'When the vendor deleted it. Where the vendor does not say: when we learned of it.';

-- Rejects.
COMMENT ON COLUMN billing.reject.record_key IS
    'Recognises the record when it is rejected again: its id; for a row of a file without an id, '
    'the file''s name and what the row holds.';
COMMENT ON COLUMN billing.reject.class IS
    'correction: the record changes or takes back a sale that has points, which stay until it is '
    'accepted. record: any other.';

-- Limits of requests to a billing system.
COMMENT ON COLUMN billing.api_call.counts_from IS
    'Answered: when the answer came; the request counts for the length of each window after it. '
    'Not answered: from then on the request is taken for lost.';
COMMENT ON COLUMN billing.api_rest.rest_until IS
    'No worker sends a request before: the vendor asked for a pause.';

-- Fields of vendors' records.
COMMENT ON COLUMN billing.vendor_field.base_line IS
    'true: the field was in the first records of the list that we ever saw. '
    'false: it appeared later, and was reported as new.';
COMMENT ON COLUMN billing.vendor_field.gone_at IS
    'When the field was reported as missing from all records; null: it is still there.';

-- Webhooks.
COMMENT ON COLUMN billing.webhook_event.next_attempt_at IS
    'When a run may claim the event. Of a claimed event: the end of the claim''s lease, from when '
    'another run may take it.';

-- Award policy.
COMMENT ON COLUMN billing.award_policy.policy_no IS
    'Order of entry. Where two rows are valid for a sale, the one entered later decides.';

-- Points.
COMMENT ON COLUMN loyalty.member_dirty.marks IS
    'How many changes marked the member since the last award. Each mark updates the row, so that '
    'marking waits for an award in progress.';
COMMENT ON COLUMN loyalty.promotion_claim.wanted IS
    'Points that the promotion would give for the sale if it had no budget.';
COMMENT ON COLUMN loyalty.promotion_claim.granted IS
    'Points that the budget allows. What is left is given to the sales in the order of issued_at.';
COMMENT ON COLUMN loyalty.promotion_claim.unsettled_from IS
    'The claim changed: the budget has to be divided again among all sales from this instant on. '
    'Null: the claim is settled.';
COMMENT ON COLUMN loyalty.expiry_watch.watched_until IS
    'Every member with points that expired before this instant was marked for the award step.';
COMMENT ON COLUMN loyalty.tier_entry.tier IS
    'The tier from valid_from on. Null: an earlier entry for this instant is taken back.';

-- What enters without a person.
COMMENT ON COLUMN audit.seen.state IS
    'The setting as it was last seen, to notice changes: numbers, switches and intervals as they '
    'are, texts and secrets as a keyed fingerprint.';

-- Indexes that are rules.
COMMENT ON INDEX billing.reject_open IS
    'A record has one open reject; being rejected again updates it.';
COMMENT ON INDEX billing.webhook_endpoint_default IS
    'One endpoint in use, at most, is the default.';

-- Indexes that serve one question.
COMMENT ON INDEX billing.sync_run_poll IS
    'The newest synchronisation of an account that read lists.';
COMMENT ON INDEX billing.sync_run_recent IS
    'The newest synchronisations of an account, of either source.';
COMMENT ON INDEX billing.invoice_number IS
    'Documents of custom systems by printed number: webhooks may name them so.';
COMMENT ON INDEX billing.reject_correction IS
    'Open rejects that hold back a correction: alerts read them.';
COMMENT ON INDEX billing.reject_open_page IS
    'Open rejects by raw page: the next run tries them again in that order.';
COMMENT ON INDEX billing.webhook_event_due IS
    'Events to be claimed, in the order in which they are due.';
COMMENT ON INDEX loyalty.award_entry_corrected IS
    'Sales with more than one entry: explanations ask by the sale, all else by the member.';
COMMENT ON INDEX loyalty.promotion_claim_order IS
    'The order in which claims use a budget up.';
COMMENT ON INDEX loyalty.promotion_claim_unsettled IS
    'Claims because of which a budget has to be divided again.';
