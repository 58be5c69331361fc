"""Who people are: registration, passwords, sign-in, sessions, proofs of e-mail."""
