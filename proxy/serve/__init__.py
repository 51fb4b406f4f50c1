"""The client's side: accept, read, hand on, answer."""
