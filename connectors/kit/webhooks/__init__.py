"""Webhooks: how deliveries are signed, how their bodies are opened, and what they say happened."""
