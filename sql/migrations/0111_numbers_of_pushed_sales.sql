-- Documents that are named by their printed number: of custom systems, and of those that only send.
DROP INDEX billing.invoice_number;
CREATE INDEX invoice_number ON billing.invoice (account, invoice_number, system)
WHERE system IN ('custom', 'push') AND external_id IS DISTINCT FROM invoice_number;
COMMENT ON INDEX billing.invoice_number IS
    'Finds the id of a document that a webhook names by its number.';
