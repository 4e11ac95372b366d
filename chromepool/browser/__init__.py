"""One Chrome as the gateway sees it: its pipe, its mux, and the daemon's own commands to it."""
