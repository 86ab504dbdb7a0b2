"""How the parts are started: the embedded Postgres and Redis, and the `octet-server` command."""
