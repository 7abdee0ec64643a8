"""What an administrator sees: logs now, metrics and health later."""
