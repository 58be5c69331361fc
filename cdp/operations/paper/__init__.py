"""The register of paper records, and their destruction before a witness."""
