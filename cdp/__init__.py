"""GraphQL customer data platform with self-service data export and deletion."""
