"""Documents that staff hand in: sealed in the object store under a key of their own each."""
