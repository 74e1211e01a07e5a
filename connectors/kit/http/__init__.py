"""Requests to a vendor: authorised, within its rate limit, every failure as an error that fits.

`client` sends one request, `retry` sends it again where that may help, `ratelimit` makes it wait,
`auth`, `signing` and `consent` prove who we are, `responses` and `probe` read what came back.
"""
