"""The authorization server: OAuth 2.0 as hardened by RFC 9700, and OpenID Connect Core 1.0.

Authlib speaks the protocol, synchronously and in a thread; what it stores and consumes goes back to the event loop,
into the one transaction of the request (``operations.grants``), so that a code is taken by exactly one of two that try.
"""
