"""Imports: customers, contacts, preferences and orders from files or another database, by a mapping file.

mapping     what a mapping file may say, checked before anything is read
sources     CSV, NDJSON and SQL as streams of rows
staging     all rows of a run on local disk, so that a customer's rows can be read together
records     staged rows turned into drafts, or into coded rejects
matching    drafts against the database: suppressed, known, new
changes     what has to be written so that the database says what the draft says
run         the whole import, batch by batch
"""
