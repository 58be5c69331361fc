"""A processor that is asked by mail and answers through a link."""
