"""The GraphQL schema: types, mutations, subscriptions, how they are executed, and their door over HTTP."""
