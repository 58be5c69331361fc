"""What the platform does: every write, every state machine, every transaction."""
