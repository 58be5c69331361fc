"""How long everything is kept, and the purge that removes what is past that."""
