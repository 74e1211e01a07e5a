-- The list of transactions is read by date, a page at a time. Most sales arrive in the order of their dates, so the index grows at its end.
CREATE INDEX invoice_issued ON billing.invoice (issued_at);
