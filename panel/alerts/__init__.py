"""Alerts: Prefect's automations, our own events, and a block that sends e-mail."""
