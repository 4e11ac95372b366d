"""What people talk to: the control API and the DevTools endpoint."""
