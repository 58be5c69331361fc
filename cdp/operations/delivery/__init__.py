"""Asset transfers, carried out: packages made, pulled, receipted; what is told afterwards; the chain of custody."""
