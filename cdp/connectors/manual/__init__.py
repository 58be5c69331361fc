"""A system without an API: people carry out each step."""
