"""The canary: a person who never was is made and erased through every system, so that we know it still works."""
