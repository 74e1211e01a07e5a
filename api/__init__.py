"""The HTTP API: webhooks in, transactions, synchronisation, status and members out."""

from settings import settings
from sql import sealing

# Stored bodies are sealed with the keys of this installation.
sealing.use(lambda: settings().data_keys())
