-- Runs that end together renew the page "Billing systems" once: each takes a number, and one of
-- them renews for all numbers taken until then.
CREATE SEQUENCE billing.page_renewal AS bigint;
COMMENT ON SEQUENCE billing.page_renewal IS
    'How often a run has asked for the page "Billing systems" to be renewed.';
