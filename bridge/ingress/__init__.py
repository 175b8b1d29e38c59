"""The way in: from the socket to the journal's `append`."""
