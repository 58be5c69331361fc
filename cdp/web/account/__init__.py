"""Pages of customers, one module a page with its document and template beside it."""
