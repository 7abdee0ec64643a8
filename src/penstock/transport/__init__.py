"""From accepted to delivered: the stages of a message's way."""
