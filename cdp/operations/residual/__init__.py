"""What is left of erased people: a search through every text of our database, and what its result is worth."""
