"""Answers for load balancers: health checks, readiness, the HAProxy agent."""
