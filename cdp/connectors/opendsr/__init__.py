"""A processor that speaks OpenDSR 2.0 as a connected system."""
