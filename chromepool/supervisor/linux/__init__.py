"""System calls: processes, namespaces, limits, control groups."""
