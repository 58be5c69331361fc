"""Who may see what, decided once and as data: viewer + rules -> allow, deny, mask or SQL predicate."""
