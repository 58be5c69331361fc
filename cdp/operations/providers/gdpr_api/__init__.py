"""The GDPR API, answered: show one person's data to their profile service, and delete it."""
