"""Mutations: each takes one input object, calls one operation in one transaction, and answers with what it changed."""
