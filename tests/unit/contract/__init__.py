"""The public contract of 0.1 as data, and the comparison of a tree with it."""
