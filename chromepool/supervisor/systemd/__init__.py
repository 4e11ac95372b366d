"""What systemd offers: notifications, the file descriptor store, jobs."""
