"""Paper in our offices, as a connected system."""
