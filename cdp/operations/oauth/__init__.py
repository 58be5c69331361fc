"""What an application may do in somebody's name: clients, consents, grants, tokens."""
