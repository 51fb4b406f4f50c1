"""The outage drill: an hour of real traffic in minutes, through Fusebox, while its providers fail. See README.md."""
