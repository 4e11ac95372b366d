"""Routes, handlers and WebSockets of both listeners."""
