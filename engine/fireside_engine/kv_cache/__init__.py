"""KV on disk: blocks of rows and checkpoints, found by the tokens they were computed from.

`record` is a file and how it is checked; `index` is a disposable SQLite database of what is there; `store` puts, finds
and removes; `writer` and `reader` keep all of it away from the threads that compute. Any doubt is a miss, never an
error: the worst that can happen here is that a token is computed again.
"""
