"""A Valkey or Redis server as a connected system."""
