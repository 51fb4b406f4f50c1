"""The configuration file: its types, its reading with line and column, its presets, its secrets, its current value."""
