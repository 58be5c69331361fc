"""Legal holds: placed and released by two people, and what they keep from being erased."""
