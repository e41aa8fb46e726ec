"""Evolution strategies and genetic algorithms, one a file, behind `Strategy.ask` and `Strategy.tell`."""
