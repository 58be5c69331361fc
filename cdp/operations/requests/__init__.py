"""Privacy requests from receipt to certificate: the state machine, its tasks, its proofs."""
