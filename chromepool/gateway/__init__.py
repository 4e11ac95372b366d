"""The unprivileged process that talks to people: control API, DevTools endpoint, sessions."""
