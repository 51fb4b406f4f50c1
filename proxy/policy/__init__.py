"""Which targets answer a request, and why. Pure."""
