"""Asset transfers up to the package, and after it: the deal, who goes, their notices and objections, the freeze."""
