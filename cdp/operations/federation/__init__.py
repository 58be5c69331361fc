"""Signing in through an external OpenID provider; our own authorization server stays the issuer of our tokens."""
