"""The engine that reads billing systems. It knows no vendor by name.

spec/       what a system is, as values; a system's `connector.py` is written with them
http/       one client per account: authorisation, rate limits, retries, consent in a browser
read/       lists page by page (also lists that move meanwhile), look-ups, documents by id
mapping/    stored pages to canonical frames, and what could not be used
files/      exported files as pages: CSV, JSON, Parquet
webhooks/   how deliveries are signed, and which documents they are about
described/  systems that an operator describes in a block
errors.py   what can go wrong, ordered by who must act
"""
