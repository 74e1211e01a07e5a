"""The HTTP API: webhooks in, transactions, synchronisation, status and members out."""
