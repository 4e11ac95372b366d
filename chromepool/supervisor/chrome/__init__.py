"""A Chrome: its command line, its folders, its process."""
