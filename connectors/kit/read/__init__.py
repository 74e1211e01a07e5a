"""Reads lists, look-ups and single documents, as pages that can be stored.

In: a stream of the spec, a client, and a window of time. Out: pages, exactly as received. `pages`
reads lists, `look_up` reads records by ids, `fetch` documents that a webhook named; `pagination`
has the ways of paging, and `positions` guards lists that move while they are read.
"""
