"""Who is told when something is wrong, and what goes on by itself: Prefect's automations, our events, an e-mail block."""
