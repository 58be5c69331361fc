"""A system that answers signed JSON over HTTP as a connected system."""
