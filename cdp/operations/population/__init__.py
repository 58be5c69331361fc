"""A believable, deterministic population for development, tests and benchmarks; nobody in it exists.

locales     names, places, phone formats and currencies by language
catalogue   what the shop sells
texts       what people ask, answer and look at
rows        one customer with everything that hangs below, as lines of COPY
seed        a population loaded in one transaction
"""
