"""Our own tables as a connected system."""
