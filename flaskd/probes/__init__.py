"""What balancers ask: health checks, readiness, the HAProxy agent."""
