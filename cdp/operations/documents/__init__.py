"""GraphQL documents that are stored in advance."""
