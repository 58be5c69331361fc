"""The embedded stack: Postgres, Valkey and our own two processes, supervised by us and gone when we are gone."""
