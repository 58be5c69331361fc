"""Who prepares, approves and sees asset transfers, by scope and role; operations ask for the same."""

READ_SCOPE = "transfers:read"
MANAGE_SCOPE = "transfers:manage"
RECEIVE_SCOPE = "transfers:receive"
MAKERS = frozenset({"privacy_officer", "administrator"})
"""Who records a deal and moves it on."""
APPROVERS = MAKERS | {"supervisor"}
"""Who confirms the acquirer's key and approves what is frozen, never what they made themselves."""
RECORDERS = frozenset({"agent", "supervisor", "privacy_officer"})
"""Who records the objection of somebody who calls or writes."""
READERS = APPROVERS | RECORDERS
