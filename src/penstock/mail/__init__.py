"""What mail is: addresses, envelopes, headers, contents and replies as plain values, without I/O, clock or log."""
