"""What a model's text says: words for the reader, thinking, and calls of tools, told apart while it streams.

Every family of models has its own marks for these. `formats` finds out which by the chat template, and `parser` gives
the state machine for it. All of them are pure: text in, parts out, and the parts do not depend on how the text is cut.
"""
