"""A service that answers the Helsinki GDPR API as a connected system."""
