"""GraphQL selection -> one SQL statement -> JSON bytes."""
