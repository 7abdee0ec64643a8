"""Sessions and messages kept in a file, to be gone through again with other sinks."""
