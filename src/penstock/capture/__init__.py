"""Captures: SMTP sessions as they were, without what is nobody's business, so that they can be run again through other bindings."""
