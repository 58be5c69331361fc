"""Files of a person in object storage."""
