"""OpenDSR, answered: requests of controllers whose processor we are."""
