"""One module per command; each has `main(words) -> ExitCode` and raises Failure."""
