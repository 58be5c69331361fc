"""The export a customer takes away: what is in it and in which forms."""
