"""SASL (RFC 4422): a small machine for each side of each mechanism; no I/O, no clock, no store of users."""
