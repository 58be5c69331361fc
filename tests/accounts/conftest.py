"""Accounts are tested over the whole application, as a browser meets it."""

from tests.site import app, new_customer, new_staff, platform, signed_in

__all__ = ["app", "new_customer", "new_staff", "platform", "signed_in"]
