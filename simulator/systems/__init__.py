"""One module per vendor: what their API answers, rendered from the books."""
