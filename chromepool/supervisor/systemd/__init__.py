"""The services of systemd: notifications, the file descriptor store, jobs."""
