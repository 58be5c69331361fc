"""Backups of the database, restoring them, and replaying what was erased since.

archive    the file: a sealed dump and a signed manifest
dump       Postgres's own programs, fed by pipes
backup     make one, from one snapshot
restore    put one in the place of what is there
replay     erase again whom the journal names, before anything is served
"""
