"""Other systems that hold copies of the same customers, and our own tables, behind one contract (``base``)."""
