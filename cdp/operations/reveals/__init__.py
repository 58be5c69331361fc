"""Reveals: an agent sees masked fields of one customer clear, for a minute and with a reason."""
