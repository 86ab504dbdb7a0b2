"""From a `Graph` to a `Plan`: what the calls become by the operator table, free of writes. Needs no torch."""
