"""One process: the cores (replica, database) and the shells around them."""
