"""A mail server whose behaviour is written in Python."""
