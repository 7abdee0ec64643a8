"""What tests that start a real server share: processes, load, messages, mailboxes."""
