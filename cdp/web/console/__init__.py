"""Pages of staff: search, customers, requests, GraphQL. What they may see is decided where all reads are compiled."""
