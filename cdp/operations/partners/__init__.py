"""Partners: grants by function, recalls, legal orders, links of customers, offers sent through us."""
