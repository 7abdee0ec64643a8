"""SMTP without I/O: a host feeds octets in, takes events out, decides, and sends what the machine says (RFC 5321)."""
