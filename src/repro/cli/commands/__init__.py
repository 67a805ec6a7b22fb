"""One module a command, registered in `repro.cli.registry`: its arguments, and what it prints."""
