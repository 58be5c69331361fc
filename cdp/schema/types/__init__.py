"""GraphQL types, one noun a file; their fields say which columns they are."""
