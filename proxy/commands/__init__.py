"""The commands of ``fusebox``, one a file: each has `add`, which declares its arguments, and what it runs."""
