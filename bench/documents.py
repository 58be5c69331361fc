"""Documents: the profile query in the words of each schema, and one hostile document after another."""
