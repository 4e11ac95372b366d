"""What a session keeps besides its Chrome: bounded in number, bytes and time."""
