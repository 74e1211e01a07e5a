-- One form for all ids: `1001.0`, `FT<no-break space>1` and what else means the same is called the same.
--
-- Documents that were stored under another form are renamed, with their ledger entries: points are
-- not touched by a name. Where one document was stored under two forms, it counted twice: the newest
-- version keeps the id, the others become void, and the next award step takes their points back, as
-- for every other void.
CREATE FUNCTION billing.normal_id(said text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(btrim(regexp_replace(normalize(regexp_replace(said,
        '[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]',
        '', 'g'), NFC),
        '[\u0009-\u000d \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+',
        ' ', 'g'), ' '), '^(-?[0-9]+)[.,]0{1,2}$', '\1')
$$;
COMMENT ON FUNCTION billing.normal_id(text) IS
    'An id without unseen characters, surplus or odd spaces, or the .0 of a number: as connectors/kit/mapping/ids.py.';

-- Whether an id may have another form; a cheap look before the others.
CREATE FUNCTION pg_temp.is_odd(said text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT said ~ '[^!-~ ]|  |^ | $|[.,]0{1,2}$' AND billing.normal_id(said) NOT IN (said, '')
$$;

CREATE TEMPORARY TABLE odd_document ON COMMIT DROP AS
WITH odd AS (
    SELECT DISTINCT system, account, billing.normal_id(external_id) AS normal
    FROM billing.invoice WHERE pg_temp.is_odd(external_id)
), version AS (
    SELECT i.*, o.normal FROM billing.invoice i JOIN odd o ON (o.system, o.account, o.normal)
        = (i.system, i.account, i.external_id)
    UNION ALL
    SELECT i.*, billing.normal_id(i.external_id) FROM billing.invoice i WHERE pg_temp.is_odd(i.external_id)
)
SELECT *, external_id = normal AS is_normal, count(*) OVER same AS versions,
       bool_or(external_id = normal) OVER same AS has_normal,
       row_number() OVER (PARTITION BY system, account, normal
                          ORDER BY updated_at DESC, stored_at DESC, page_id DESC, external_id) AS age
FROM version
WINDOW same AS (PARTITION BY system, account, normal);

-- The newest version goes to where the id is right already, and that place's version to its own.
UPDATE billing.invoice i SET (invoice_number, kind, customer_external_id, member_id, currency, total_minor,
    subtotal_minor, tax_minor, amount_paid_minor, amount_refunded_minor, status, issued_at, updated_at, page_id,
    record_no, sync_id, stored_at)
  = (n.invoice_number, n.kind, n.customer_external_id, n.member_id, n.currency, n.total_minor,
    n.subtotal_minor, n.tax_minor, n.amount_paid_minor, n.amount_refunded_minor, n.status, n.issued_at, n.updated_at,
    n.page_id, n.record_no, n.sync_id, n.stored_at)
FROM odd_document o JOIN odd_document n USING (system, account, normal)
WHERE (i.external_id, i.account, i.system) = (o.external_id, o.account, o.system) AND o.has_normal
  AND ((o.is_normal AND n.age = 1 AND NOT n.is_normal) OR (o.age = 1 AND NOT o.is_normal AND n.is_normal));

-- Every other version is void from now on.
UPDATE billing.invoice i SET status = 'void', stored_at = now() FROM odd_document o
WHERE (i.external_id, i.account, i.system) = (o.external_id, o.account, o.system) AND o.versions > 1
  AND NOT o.is_normal AND (o.has_normal OR o.age > 1);
SELECT loyalty.mark_dirty(ARRAY(
    SELECT member_id FROM odd_document WHERE versions > 1 AND member_id IS NOT NULL
    UNION SELECT e.member_id FROM odd_document o JOIN loyalty.award_entry e USING (external_id, account, system)
    WHERE o.versions > 1));

-- What is there in one form only, or has no row with the right id, is renamed, with all that names it.
CREATE TEMPORARY TABLE renamed_document ON COMMIT DROP AS
SELECT system, account, external_id, normal FROM odd_document WHERE NOT has_normal AND age = 1;
UPDATE billing.invoice i SET external_id = r.normal FROM renamed_document r
WHERE (i.external_id, i.account, i.system) = (r.external_id, r.account, r.system);
-- Only the name: due, points and their order stay as they were posted.
ALTER TABLE loyalty.award_entry DISABLE TRIGGER award_entry_append_only;
UPDATE loyalty.award_entry e SET external_id = r.normal FROM renamed_document r
WHERE (e.external_id, e.account, e.system) = (r.external_id, r.account, r.system);
ALTER TABLE loyalty.award_entry ENABLE TRIGGER award_entry_append_only;
UPDATE loyalty.promotion_claim c SET external_id = r.normal FROM renamed_document r
WHERE (c.external_id, c.account, c.system) = (r.external_id, r.account, r.system);

INSERT INTO billing.pushed_document (system, account, external_id, occurred_at, by_number)
SELECT DISTINCT ON (system, account, billing.normal_id(external_id)) system, account, billing.normal_id(external_id),
       occurred_at, by_number
FROM billing.pushed_document WHERE pg_temp.is_odd(external_id)
ORDER BY system, account, billing.normal_id(external_id), occurred_at DESC
ON CONFLICT (external_id, account, system)
DO UPDATE SET occurred_at = greatest(pushed_document.occurred_at, excluded.occurred_at);
DELETE FROM billing.pushed_document WHERE pg_temp.is_odd(external_id);

-- Numbers and customers that documents name, and items that lines name.
UPDATE billing.invoice SET invoice_number = billing.normal_id(invoice_number) WHERE pg_temp.is_odd(invoice_number);
UPDATE billing.invoice SET customer_external_id = billing.normal_id(customer_external_id)
WHERE pg_temp.is_odd(customer_external_id);
UPDATE billing.invoice_line SET item_external_id = billing.normal_id(item_external_id)
WHERE pg_temp.is_odd(item_external_id);
INSERT INTO billing.customer (system, account, external_id, phone, fetched_at)
SELECT DISTINCT ON (system, account, billing.normal_id(external_id)) system, account, billing.normal_id(external_id),
       phone, fetched_at
FROM billing.customer WHERE pg_temp.is_odd(external_id)
ORDER BY system, account, billing.normal_id(external_id), phone IS NULL, fetched_at DESC
ON CONFLICT (system, account, external_id) DO NOTHING;
DELETE FROM billing.customer WHERE pg_temp.is_odd(external_id);
INSERT INTO billing.item (system, account, external_id, sku, name, fetched_at)
SELECT DISTINCT ON (system, account, billing.normal_id(external_id)) system, account, billing.normal_id(external_id),
       sku, name, fetched_at
FROM billing.item WHERE pg_temp.is_odd(external_id)
ORDER BY system, account, billing.normal_id(external_id), fetched_at DESC
ON CONFLICT (system, account, external_id) DO NOTHING;
DELETE FROM billing.item WHERE pg_temp.is_odd(external_id);

-- Rejects: of two open ones of the same record the later seen stays.
UPDATE billing.reject r SET resolved_at = now(), resolved_sync_id = r.last_sync_id
WHERE r.resolved_at IS NULL AND EXISTS (
    SELECT FROM billing.reject o
    WHERE (o.system, o.account, o.stream, billing.normal_id(o.record_key))
        = (r.system, r.account, r.stream, billing.normal_id(r.record_key))
      AND o.resolved_at IS NULL AND (o.last_seen_at, o.reject_id) > (r.last_seen_at, r.reject_id));
UPDATE billing.reject SET record_key = billing.normal_id(record_key)
WHERE record_key = external_id AND pg_temp.is_odd(record_key);
UPDATE billing.reject SET external_id = billing.normal_id(external_id) WHERE pg_temp.is_odd(external_id);
UPDATE billing.reject SET customer_external_id = billing.normal_id(customer_external_id)
WHERE pg_temp.is_odd(customer_external_id);

-- How rejects without an id are recognised when they are seen again.
COMMENT ON COLUMN billing.reject.record_key IS
    'What makes the record recognisable when it is seen again: its id, or else its file and what it says.';
DROP FUNCTION pg_temp.is_odd(text);
