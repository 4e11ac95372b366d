"""Control groups: v2, v1, or none."""
