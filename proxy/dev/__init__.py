"""For people at their desks: the built-in demo provider."""
