-- Where a sale was made: rules may ask for it, and analysts group by it.
-- Sales of earlier releases say nothing until they are read again or replayed.
ALTER TABLE billing.invoice
    ADD COLUMN store text,
    ADD COLUMN channel text,
    ADD COLUMN city text,
    ADD COLUMN region text;
COMMENT ON COLUMN billing.invoice.store IS
    'Shop, branch or warehouse that sold it: its name, else its id; null where the vendor does not '
    'say.';
COMMENT ON COLUMN billing.invoice.channel IS
    'How it was sold, as the vendor says: pos, web, ...; null where it does not say.';
COMMENT ON COLUMN billing.invoice.city IS
    'City that it went to, else that of the customer; null where the vendor does not say.';
COMMENT ON COLUMN billing.invoice.region IS
    'Province or state of that city; null where the vendor does not say.';

-- People typed these names: analysts see those that three members or more have in common.
CREATE OR REPLACE VIEW analytics.sale AS
 SELECT system, account,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(external_id) OR external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}'
                AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.external_id, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS external_id,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(invoice_number)
                OR invoice_number ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.invoice_number, '[^0-9]',
                  '', 'g'), "right"(m.phone, 8)) > 0))) IS NOT TRUE THEN invoice_number
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS invoice_number,
    kind, status, member_id, currency, total, subtotal, tax, refunded, points,
    entries, issued_at, updated_at, stored_at, time_known,
        CASE
            WHEN ( SELECT billing.sees_persons() AS sees_persons)
                OR (billing.names_person(original_external_id)
                OR original_external_id ~ '[0-9]([^0-9]{0,3}[0-9]){7}' AND (EXISTS ( SELECT
               FROM loyalty.member m
              WHERE m.member_id = t.member_id AND strpos(regexp_replace(t.original_external_id,
                  '[^0-9]', '', 'g'), "right"(m.phone,
                  8)) > 0))) IS NOT TRUE THEN original_external_id
            ELSE COALESCE(( SELECT (('hidden-' || i.page_id) || '-') || i.record_no
               FROM billing.invoice i
              WHERE i.external_id = t.original_external_id AND i.account = t.account
                  AND i.system = t.system), 'hidden')
        END AS original_external_id,
        CASE
            WHEN (SELECT billing.sees_persons()) THEN t.store
            WHEN EXISTS (SELECT FROM billing.common_text c WHERE c.digest = md5(t.store)::uuid)
            THEN billing.without_contacts(t.store)
        END AS store,
        CASE
            WHEN (SELECT billing.sees_persons()) THEN t.channel
            WHEN EXISTS (SELECT FROM billing.common_text c WHERE c.digest = md5(t.channel)::uuid)
            THEN billing.without_contacts(t.channel)
        END AS channel,
        CASE
            WHEN (SELECT billing.sees_persons()) THEN t.city
            WHEN EXISTS (SELECT FROM billing.common_text c WHERE c.digest = md5(t.city)::uuid)
            THEN billing.without_contacts(t.city)
        END AS city,
        CASE
            WHEN (SELECT billing.sees_persons()) THEN t.region
            WHEN EXISTS (SELECT FROM billing.common_text c WHERE c.digest = md5(t.region)::uuid)
            THEN billing.without_contacts(t.region)
        END AS region
   FROM ( SELECT i.system, i.account, i.external_id, i.invoice_number, i.kind,
            i.status, COALESCE(o.owner_id, i.member_id) AS member_id, i.currency,
            billing.major_units(i.total_minor, i.currency) AS total,
            billing.major_units(i.subtotal_minor, i.currency) AS subtotal,
            billing.major_units(i.tax_minor, i.currency) AS tax,
            billing.major_units(i.amount_refunded_minor, i.currency) AS refunded,
            COALESCE(p.points, 0::numeric)::bigint AS points,
            COALESCE(p.entries, 0::bigint)::integer AS entries, i.issued_at,
            i.updated_at, i.stored_at, i.time_known, i.original_external_id,
            i.store, i.channel, i.city, i.region
           FROM billing.invoice i
             LEFT JOIN loyalty.merged_member o ON o.member_id = i.member_id
             LEFT JOIN LATERAL ( SELECT sum(e.points) AS points,
                    count(*) AS entries
                   FROM loyalty.award_entry e
                  WHERE e.member_id = COALESCE(o.owner_id, i.member_id)
                      AND e.external_id = i.external_id AND e.account = i.account
                      AND e.system = i.system) p ON true) t;
COMMENT ON COLUMN analytics.sale.store IS
    'Shop, branch or warehouse that sold it; null also where fewer than three members have it.';
COMMENT ON COLUMN analytics.sale.channel IS
    'How it was sold, as the vendor says; null also where fewer than three members have it.';
COMMENT ON COLUMN analytics.sale.city IS
    'City that it went to, else that of the customer; null also where fewer than three members '
    'have it.';
COMMENT ON COLUMN analytics.sale.region IS
    'Province or state of that city; null also where fewer than three members have it.';
