"""Any HTTP API as a connected system, described rather than programmed."""
