"""What happened: log lines, health, the record of a request."""
