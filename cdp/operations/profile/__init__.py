"""What a customer says about themselves: name, contacts, preferences, consents, inquiries."""
