"""Tool calls as data: read, described by schemas, composed into queries, written to files and parsed back."""
