"""What other systems may ask of us: the protocols of our connectors, from their other side."""
