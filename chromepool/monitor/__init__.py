"""What an operator sees: metrics, alerts, health. Reads snapshots of the pool."""
