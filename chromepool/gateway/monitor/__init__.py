"""Health checks, alerts and metrics."""
