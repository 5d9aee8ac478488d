"""HTTP/1 itself: syntax, bodies, responses, failures. Shared by the engines and the ledger."""
