"""`auto`: several models that answer as one."""
