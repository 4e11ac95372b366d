"""Tests that want a machine with systemd as PID 1 and cgroup v2; elsewhere they say so and skip."""
