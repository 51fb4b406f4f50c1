"""The admin port: health for the platform, facts for the people on call."""
