"""The reading room: an HTTP API, pages, accounts, a work list, and workers that read.

Its durable half: `core` holds what is open (settings, database, blobs), `intake` takes files in,
`work` and `worker` have each read once, `worklist` shows them in the order of urgency, `accounts`,
`sessions`, `tokens` and `access` say who may do what, and `audit_trail` who did it.
"""
