"""The way to a provider: one HTTP/1.1 exchange, the pool of connections, TLS, egress proxies, tunnels."""
