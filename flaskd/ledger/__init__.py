"""The ledger: counts and lists the requests in flight, in shared memory."""
