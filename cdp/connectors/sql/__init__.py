"""Any SQL database with a declared mapping as a connected system."""
