"""One file per command: parse, import late, call, print."""
